(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("curve-data").textContent);
  const colours = { train: "s-train", training: "s-train", validation: "s-val" };

  // A crosshair that reads the mean curves at the epoch under the pointer.
  for (const [id, curves] of Object.entries(data)) {
    const canvas = document.querySelector(`#${id} .canvas`);
    if (!canvas) continue;
    const [[low, high], [bottom, top], [factor]] = curves.axis;
    const rule = document.createElement("div");
    const box = document.createElement("div");
    rule.className = "rule";
    box.className = "readout";
    canvas.append(rule, box);
    const hide = () => canvas.classList.remove("reading");
    canvas.addEventListener("pointerleave", hide);
    canvas.addEventListener("pointermove", (event) => {
      const frame = canvas.getBoundingClientRect();
      const wanted = low + ((event.clientX - frame.left) / frame.width) * (high - low);
      let epoch = null;
      const rows = [];
      for (const [name, series] of Object.entries(curves)) {
        if (name === "axis") continue;
        const [xs, ys] = series;
        let k = 0;
        for (let i = 1; i < xs.length; i++) if (Math.abs(xs[i] - wanted) < Math.abs(xs[k] - wanted)) k = i;
        epoch = epoch ?? xs[k];
        rows.push([name, (ys[k] * factor).toPrecision(4)]);
      }
      if (epoch === null) return hide();
      const at = (epoch - low) / (high - low);
      rule.style.left = `${100 * at}%`;
      box.replaceChildren(`epoch ${epoch}`);
      for (const [name, value] of rows) {
        const row = document.createElement("div");
        const key = document.createElement("i");
        key.className = `key ${colours[name] ?? ""}`;
        row.append(key, `${name} ${value}`);
        box.append(row);
      }
      box.style.left = at < 0.5 ? `calc(${100 * at}% + 10px)` : "auto";
      box.style.right = at < 0.5 ? "auto" : `calc(${100 * (1 - at)}% + 10px)`;
      canvas.classList.add("reading");
    });
  }

  // A class of the legend, under the pointer or with the focus, stands out in the picture.
  const plane = document.querySelector("#embedding svg");
  for (const key of document.querySelectorAll("#embedding li [data-class]")) {
    const show = (on) => () => {
      plane.classList.toggle("picking", on);
      for (const group of plane.querySelectorAll("g"))
        group.classList.toggle("picked", on && group.dataset.class === key.dataset.class);
    };
    key.tabIndex = 0;
    key.setAttribute("role", "button");
    for (const name of ["pointerenter", "focus"]) key.addEventListener(name, show(true));
    for (const name of ["pointerleave", "blur"]) key.addEventListener(name, show(false));
  }
})();
