// What every kind of explorer is made of. `explorer(build)` calls `build(data, ui)` once; the function
// that it returns runs at first and after every change of a control.
function explorer(build) {
  const root = document.currentScript.closest(".rt-explorer");
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  // an address of the name space would look like one of the network
  const box = document.createElement("div");
  box.innerHTML = "<svg></svg>";
  const space = box.firstChild.namespaceURI;
  const element = (tag, attributes = {}, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS(space, tag), attributes, children);

  const controls = element("form", { class: "rt-controls" });
  controls.addEventListener("submit", (event) => event.preventDefault());
  root.append(controls);
  const labelled = (label, ...nodes) => controls.append(element("label", {}, element("span", {}, label), ...nodes));
  const add = (node) => (root.append(node), node);
  const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;

  const ui = {
    root, element, svg, add, percent,

    // Slider with its value as text; returns a function that gives the number.
    slider(label, { min, max, step, value, text = String }) {
      const input = element("input", { type: "range", min, max, step, value });
      const shown = element("output");
      const show = () => {
        shown.textContent = text(Number(input.value));
        input.setAttribute("aria-valuetext", shown.textContent);
      };
      input.addEventListener("input", show);
      show();
      labelled(label, input, shown);
      return () => Number(input.value);
    },

    // Choice between options {key: text}; returns a function that gives the key.
    choice(label, options) {
      const select = element("select");
      for (const [key, text] of Object.entries(options)) select.append(element("option", { value: key }, text));
      labelled(label, select);
      return () => select.value;
    },

    // Switch; returns a function that gives true or false.
    checkbox(label, checked = false) {
      const input = element("input", { type: "checkbox" });
      input.checked = checked;
      labelled(label, input);
      return () => input.checked;
    },

    // Values {key: label} as text, read out when they change; returns a function that sets {key: text}.
    values(labels) {
      const cells = {};
      const list = add(element("dl", { class: "rt-values", "aria-live": "polite" }));
      for (const [key, label] of Object.entries(labels)) {
        cells[key] = element("dd");
        list.append(element("div", {}, element("dt", {}, label), cells[key]));
      }
      return (texts) => {
        for (const [key, text] of Object.entries(texts)) cells[key].textContent = text;
      };
    },

    // Plot with axes; returns a function that draws series
    // {name, points: [[x, y], ...], colour: 1 to 5, dash: "", dots: true for single points}.
    plot({ label, xlabel, ylabel, x, y, text = String }) {
      const [width, height, left, bottom, top, right] = [400, 300, 50, 44, 10, 12];
      const px = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
      const py = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - bottom - top);
      const words = (content, attributes) => svg("text", { fill: "currentColor", ...attributes }, content);
      const marks = svg("g");
      const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
        svg("path", { d: `M${left} ${top}V${height - bottom}H${width - right}`, fill: "none", stroke: "currentColor" }),
        words(xlabel, { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }),
        words(ylabel, { x: 0, y: 0, transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }),
        ...[0, 0.25, 0.5, 0.75, 1].flatMap((part) => {
          const [atX, atY] = [x[0] + part * (x[1] - x[0]), y[0] + part * (y[1] - y[0])];
          return [
            words(text(atX), { x: px(atX), y: height - bottom + 16, "text-anchor": "middle" }),
            words(text(atY), { x: left - 5, y: py(atY) + 4, "text-anchor": "end" }),
          ];
        }),
        marks);
      add(drawing);
      const legend = add(element("ul", { class: "rt-legend" }));
      const clamp = (value) => Math.min(Math.max(value, y[0]), y[1]);
      return (series) => {
        marks.replaceChildren(...series.flatMap(({ points, colour = 1, dash = "", dots = false }) => {
          const places = points.map(([a, b]) => [px(a), py(clamp(b))]);
          const paint = `var(--rt-${colour})`;
          if (dots) return places.map(([cx, cy]) => svg("circle", { cx, cy, r: 6, fill: paint, stroke: "currentColor" }));
          return [svg("polyline", { points: places.join(" "), fill: "none", stroke: paint, "stroke-width": 2.5, "stroke-dasharray": dash })];
        }));
        legend.replaceChildren(...series.filter(({ name }) => name).map(({ name, colour = 1, dash = "", dots = false }) => {
          const key = dots
            ? svg("circle", { cx: 15, cy: 5, r: 4.5, fill: `var(--rt-${colour})`, stroke: "currentColor" })
            : svg("path", { d: "M0 5H30", stroke: `var(--rt-${colour})`, "stroke-width": 2.5, "stroke-dasharray": dash });
          return element("li", {}, svg("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" }, key), name);
        }));
      };
    },
  };

  const update = build(data, ui);
  controls.addEventListener("input", update);
  update();
}
