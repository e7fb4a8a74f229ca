"""The commands: `python -m uotm_keras COMMAND`."""
