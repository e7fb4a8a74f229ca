"""The same training step in plain PyTorch, as a reference for speed.

NCSN++, the small potential, and UOTM's iteration (KL twice, R1 in every step), written from the
paper in the obvious way: NCHW, `nn.Module`, autograd with a second backward pass for R1,
`torch.optim.Adam`, and autocast for bfloat16. Nothing of `uotm_keras` is used. The parameters are
registered in the order in which the networks use them, the mapping network last.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEARLY_ZERO = 1e-10


def initialize(layer: nn.Module, scale: float = 1.0, mode: str = "fan_avg") -> nn.Module:
    """Apply uniform variance scaling to the weight of a layer, and set its bias to 0."""
    weight = layer.weight
    pixels = math.prod(weight.shape[2:])
    fan_in, fan_out = weight.shape[1] * pixels, weight.shape[0] * pixels
    fan = fan_out if mode == "fan_out" else (fan_in + fan_out) / 2
    bound = math.sqrt(3 * scale / fan)
    nn.init.uniform_(weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolution(inputs: int, outputs: int, size: int = 3, scale: float = 1.0) -> nn.Module:
    return initialize(nn.Conv2d(inputs, outputs, size, padding=size // 2), scale)


def groups_of(channels: int) -> int:
    return min(channels // 4, 32)


class FIR(nn.Module):
    """Resampling with the filter [1, 3, 3, 1]: "up", "down", or "blur"."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        gain = 4.0 if mode == "up" else 1.0
        self.register_buffer("kernel", gain * torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if self.mode == "up":
            spread = x.new_zeros(batch, channels, height, 2, width, 2)
            spread[:, :, :, 0, :, 0] = x
            x = spread.reshape(batch, channels, 2 * height, 2 * width)
        before, after = {"up": (2, 1), "down": (1, 1), "blur": (2, 2)}[self.mode]
        x = F.pad(x, (before, after, before, after))
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, stride=2 if self.mode == "down" else 1, groups=channels)


class AdaptiveNorm(nn.Module):
    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups_of(channels), channels, eps=1e-6, affine=False)
        self.style = initialize(nn.Linear(style, 2 * channels), mode="fan_out")
        nn.init.ones_(self.style.bias[:channels])

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        return scale * self.norm(x) + shift


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, style: int, resample: str | None = None) -> None:
        super().__init__()
        self.norm_1 = AdaptiveNorm(inputs, style)
        self.resample = FIR(resample) if resample else nn.Identity()
        self.conv_1 = convolution(inputs, outputs)
        self.norm_2 = AdaptiveNorm(outputs, style)
        self.conv_2 = convolution(outputs, outputs, scale=NEARLY_ZERO)
        changes = inputs != outputs or resample
        self.shortcut = convolution(inputs, outputs, 1) if changes else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        h = self.resample(F.silu(self.norm_1(x, style)))
        h = F.silu(self.norm_2(self.conv_1(h), style))
        return (self.shortcut(self.resample(x)) + self.conv_2(h)) / math.sqrt(2)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups_of(channels), channels, eps=1e-6)
        self.query, self.key, self.value = (
            initialize(nn.Linear(channels, channels), 0.1) for _ in range(3)
        )
        self.output = initialize(nn.Linear(channels, channels), NEARLY_ZERO)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        h = F.scaled_dot_product_attention(self.query(h), self.key(h), self.value(h))
        return (x + self.output(h).transpose(1, 2).reshape(x.shape)) / math.sqrt(2)


class Stage(nn.Module):
    """A block, and attention where the resolution asks for it."""

    def __init__(self, inputs: int, outputs: int, style: int, attention: bool) -> None:
        super().__init__()
        self.block = Block(inputs, outputs, style)
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.attention(self.block(x, style))


class Down(nn.Module):
    """Half the size, to which the input pyramid is added."""

    def __init__(self, channels: int, of_pyramid: int, style: int) -> None:
        super().__init__()
        self.block = Block(channels, channels, style, "down")
        self.blur = FIR("blur")
        self.pyramid = initialize(nn.Conv2d(of_pyramid, channels, 3, stride=2))

    def forward(self, x: Tensor, pyramid: Tensor, style: Tensor) -> Tensor:
        return (self.pyramid(self.blur(pyramid)) + self.block(x, style)) / math.sqrt(2)


class Generator(nn.Module):
    """T(x, z) of the paper; the defaults are its CIFAR-10 network."""

    def __init__(
        self,
        size: int = 32,
        image_channels: int = 3,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        latent: int = 100,
        style: int = 256,
        mapping: int = 4,
    ) -> None:
        super().__init__()
        self.stem = convolution(image_channels, width)
        channels, skips, of_pyramid = width, [width], image_channels
        last = len(multipliers) - 1
        self.down = nn.ModuleList()
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(
                    Stage(channels, width * multiplier, style, size >> level in attention)
                )
                channels = width * multiplier
                skips.append(channels)
            if level < last:
                self.down.append(Down(channels, of_pyramid, style))
                of_pyramid = channels
                skips.append(channels)
        self.middle_1 = Stage(channels, channels, style, attention=True)
        self.middle_2 = Block(channels, channels, style)
        self.up = nn.ModuleList()
        for level in range(last, -1, -1):
            for i in range(blocks + 1):
                attends = i == blocks and size >> level in attention
                self.up.append(
                    Stage(channels + skips.pop(), width * multipliers[level], style, attends)
                )
                channels = width * multipliers[level]
            if level:
                self.up.append(Block(channels, channels, style, "up"))
        self.head_norm = nn.GroupNorm(groups_of(channels), channels, eps=1e-6)
        self.head = convolution(channels, image_channels, scale=NEARLY_ZERO)
        layers: list[nn.Module] = []
        for i in range(mapping + 1):
            dense = initialize(nn.Linear(style if i else latent, style), mode="fan_out")
            layers += [dense, nn.SiLU()]
        self.mapping = nn.Sequential(*layers)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        style = self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        pyramid, h = x, self.stem(x)
        skips = [h]
        for layer in self.down:
            if isinstance(layer, Down):
                h = pyramid = layer(h, pyramid, style)
            else:
                h = layer(h, style)
            skips.append(h)
        h = self.middle_2(self.middle_1(h, style), style)
        for layer in self.up:
            if isinstance(layer, Stage):
                h = torch.cat([h, skips.pop()], dim=1)
            h = layer(h, style)
        return torch.tanh(self.head(F.silu(self.head_norm(h))).float())


class DownBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.conv_1 = initialize(nn.Conv2d(inputs, outputs, 3, padding=1), mode="fan_out")
        self.conv_2 = initialize(
            nn.Conv2d(outputs, outputs, 3, padding=1), NEARLY_ZERO, mode="fan_out"
        )
        self.shortcut = initialize(nn.Conv2d(inputs, outputs, 1, bias=False), mode="fan_out")
        self.resample = FIR("down") if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv_1(F.leaky_relu(x, 0.2)), 0.2)
        return (self.shortcut(self.resample(x)) + self.conv_2(self.resample(h))) / math.sqrt(2)


def with_minibatch_stddev(x: Tensor) -> Tensor:
    """Append a channel with the standard deviation among i, i + B/4, i + B/2, and i + 3B/4."""
    batch, _, height, width = x.shape
    group = min(batch, 4)
    h = x.float().reshape(group, batch // group, -1)
    stddev = (h.var(0, unbiased=False) + 1e-8).sqrt().mean(1)
    channel = stddev.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, channel.to(x.dtype)], dim=1)


class Potential(nn.Module):
    """v(y) of the paper for images of 32 px."""

    def __init__(self, image_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.stem = initialize(nn.Conv2d(image_channels, 2 * width, 1), mode="fan_out")
        self.blocks = nn.Sequential(
            DownBlock(2 * width, 2 * width, False),
            DownBlock(2 * width, 4 * width, True),
            DownBlock(4 * width, 8 * width, True),
            DownBlock(8 * width, 8 * width, True),
        )
        self.final = initialize(
            nn.Conv2d(8 * width + 1, 8 * width, 3, padding=1), NEARLY_ZERO, mode="fan_out"
        )
        self.value = initialize(nn.Linear(8 * width, 1), mode="fan_out")

    def forward(self, y: Tensor) -> Tensor:
        h = self.final(with_minibatch_stddev(self.blocks(self.stem(y))))
        return self.value(F.leaky_relu(h, 0.2).float().sum((2, 3)))[:, 0]


class Trainer:
    """UOTM's iteration with KL divergences, c = τ‖x − y‖², and R1.

    Args:
        generator: T.
        potential: v.
        bfloat16: Whether the networks run under autocast. Defaults to False.
        compiled: Whether to use `torch.compile`. It has no second derivatives, so that v(y) with
            R1 stays eager. Defaults to False.
    """

    def __init__(
        self,
        generator: Generator,
        potential: Potential,
        *,
        tau: float = 1e-3,
        gamma: float = 0.2,
        decay: float = 0.9999,
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.generator, self.potential = generator, potential
        self.tau, self.gamma, self.decay, self.bfloat16 = tau, gamma, decay, bfloat16
        self.transport = torch.compile(generator) if compiled else generator
        self.value = torch.compile(potential) if compiled else potential
        self.average = [p.detach().clone() for p in generator.parameters()]
        settings = {"betas": (0.5, 0.9), "eps": 1e-8}
        self.of_generator = torch.optim.Adam(generator.parameters(), lr=1.6e-4, **settings)
        self.of_potential = torch.optim.Adam(potential.parameters(), lr=1e-4, **settings)
        self.device = next(generator.parameters()).device

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def draw(self, count: int, shape: Sequence[int]) -> Iterator[Tensor]:
        """Yield x, of the shape of the data, and z."""
        latent = self.generator.mapping[0].in_features
        for size in ((count, *shape), (count, latent)):
            yield torch.randn(size, device=self.device)

    def cost(self, x: Tensor, y: Tensor) -> Tensor:
        return self.tau * (x - y).square().sum((1, 2, 3))

    def potential_loss(self, real: Tensor, x: Tensor, z: Tensor) -> Tensor:
        with self.autocast():
            with torch.no_grad():
                fake = self.transport(x, z)
            real = real.detach().requires_grad_()
            v_real = self.potential(real)
            v_fake = self.value(fake)
        (gradient,) = torch.autograd.grad(v_real.sum(), real, create_graph=True)
        penalty = self.gamma / 2 * gradient.square().sum((1, 2, 3)).mean()
        psi = torch.expm1(v_fake - self.cost(x, fake)).mean() + torch.expm1(-v_real).mean()
        return psi + penalty

    def generator_loss(self, x: Tensor, z: Tensor) -> Tensor:
        with self.autocast():
            fake = self.transport(x, z)
            value = self.value(fake)
        return (self.cost(x, fake) - value).mean()

    def step(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """Take one training step on real images (B, C, H, W) and return the two losses."""
        self.of_potential.zero_grad()
        potential_loss = self.potential_loss(real, *self.draw(len(real), real.shape[1:]))
        potential_loss.backward()
        self.of_potential.step()

        self.of_generator.zero_grad()
        self.potential.requires_grad_(False)
        generator_loss = self.generator_loss(*self.draw(len(real), real.shape[1:]))
        generator_loss.backward()
        self.potential.requires_grad_(True)
        self.of_generator.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.generator.parameters()), 1 - self.decay)
        return potential_loss.detach(), generator_loss.detach()

    @torch.no_grad()
    def sample(self, x: Tensor, z: Tensor) -> Tensor:
        """Return T(x, z), of the trained weights, which costs what the average does."""
        with self.autocast():
            return self.transport(x, z)
