"use strict";
(() => {
  const data = JSON.parse(document.getElementById("run-data").textContent);
  const minus = "\u2212", narrow = "\u202f";

  // As `number` and `grouped` of formatting.py write them.
  const grouped = (n) => {
    const digits = String(Math.abs(n));
    const parted = digits.length > 4 ? digits.replace(/\B(?=(\d{3})+$)/g, narrow) : digits;
    return (n < 0 ? minus : "") + parted;
  };
  const number = (v) => {
    const size = Math.abs(v);
    if (size && (size < 1e-3 || size >= 1e7)) {
      const [mantissa, exponent] = v.toExponential(3).split("e");
      return `${Number(mantissa)}e${Number(exponent)}`.replaceAll("-", minus);
    }
    if (size >= 1000) return grouped(Math.round(v));
    return String(Number(v.toPrecision(4))).replaceAll("-", minus);
  };

  // The index of the step nearest to `step`.
  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle; else high = middle;
    }
    return step - steps[low] <= steps[high] - step ? low : high;
  };

  const slider = document.getElementById("slider");
  if (slider) {
    const grids = [...document.querySelectorAll("figure.grid")];
    const output = document.querySelector('output[for="slider"]');
    const show = () => {
      const chosen = Number(slider.value);
      grids.forEach((grid, i) => grid.classList.toggle("current", i === chosen));
      slider.setAttribute("aria-valuetext", `step ${grids[chosen].dataset.step}`);
      output.textContent = `${chosen + 1} of ${grids.length}`;
    };
    slider.addEventListener("input", show);
    show(); // A browser may restore the slider's position.
  }

  for (const figure of document.querySelectorAll("figure.chart")) {
    const plot = figure.querySelector(".plot"), svg = plot.querySelector("svg[data-lines]");
    if (!svg) continue;
    const [first, last, start, stop] = svg.dataset.x.split(" ").map(Number);
    const steps = data.curves[svg.dataset.lines.split(" ")[0]].steps;
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    const [, , bottom, top] = svg.dataset.y.split(" ");
    cursor.setAttribute("y1", top);
    cursor.setAttribute("y2", bottom);
    let chosen = steps.length - 1;

    const read = (index, marked) => {
      chosen = Math.min(Math.max(index, 0), steps.length - 1);
      const step = steps[chosen];
      figure.querySelector("[data-at]").textContent = grouped(step);
      for (const place of figure.querySelectorAll("[data-line]")) {
        const curve = data.curves[place.dataset.line];
        const i = nearest(curve.steps, step);
        // Curves are thinned separately, so their steps may differ.
        const aside = curve.steps[i] === step ? "" : ` (step ${grouped(curve.steps[i])})`;
        place.textContent = number(curve.values[i]) + aside;
      }
      const x = start + ((step - first) / (last - first)) * (stop - start);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      if (marked) svg.append(cursor); else cursor.remove();
    };
    const rest = () => read(steps.length - 1, false);

    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      read(nearest(steps, first + ((x - start) / (stop - start)) * (last - first)), true);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", rest);
    plot.addEventListener("focus", () => read(chosen, true));
    plot.addEventListener("blur", rest);
    plot.addEventListener("keydown", (event) => {
      const far = Math.max(1, Math.round(steps.length / 20));
      const moves = {
        ArrowLeft: chosen - 1, ArrowRight: chosen + 1, PageDown: chosen - far,
        PageUp: chosen + far, Home: 0, End: steps.length - 1,
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      read(moves[event.key], true);
    });
  }

  // Nobody can open a folded part on paper.
  const opened = new Set();
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details[data-print]:not([open])")) {
      details.open = true;
      opened.add(details);
    }
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened.clear();
  });
})();
