// Any measure of any model, by group.
explorer((data, ui) => {
  const { [data.chosen]: first, ...others } = data.models;
  const model = ui.choice("Model", { [data.chosen]: first, ...others });
  const attribute = ui.choice("Groups of", data.attributes);
  const measure = ui.choice("Measure", data.measures);
  const list = ui.add(ui.element("div", { role: "table", "aria-live": "polite" }));
  const [width, height, edge] = [400, 18, 8];

  // one scale for all models and groups, so that pictures can be compared
  const range = (name) => {
    const values = Object.values(data.cells).flatMap(Object.values).flat()
      .flatMap((cell) => cell.measures[name] ?? []).filter((value) => value !== null);
    return [Math.min(...values), Math.max(...values)];
  };
  const interval = ([value, low, high], [least, most]) => {
    const at = (x) => edge + ((x - least) / (most - least || 1)) * (width - 2 * edge);
    const line = (attributes) => ui.svg("line", { y1: height / 2, y2: height / 2, ...attributes });
    return ui.svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      line({ x1: edge, x2: width - edge, stroke: "currentColor", "stroke-width": 0.5, opacity: 0.4 }),
      ...(low === null ? [] : [line({ x1: at(low), x2: at(high), stroke: "var(--rt-1)", "stroke-width": 4 })]),
      ui.svg("circle", { cx: at(value), cy: height / 2, r: 6, fill: "var(--rt-2)", stroke: "currentColor" }));
  };
  const digits = (value) => value.toFixed(3).replace("-", "−");
  const row = (cell, name, scale) => {
    const { images, patients, positive } = cell.n;
    const found = cell.measures[name];
    const text = (content, role = "cell") => ui.element("span", { role }, content);
    const shown = found
      ? digits(found[0]) + (found[1] === null ? "" : ` (${digits(found[1])} to ${digits(found[2])})`)
      : Object.keys(cell.measures).length ? "not defined" : `suppressed: fewer than ${data.minimum} patients of a class`;
    return ui.element("div", { role: "row" },
      ui.element("strong", { role: "rowheader" }, cell.group), " ", text(shown), " ",
      text(`${images} images, ${patients} patients, ${positive} positive`),
      ...(found ? [interval(found, scale)] : []));
  };
  return () => {
    const [name, scale] = [measure(), range(measure())];
    list.replaceChildren(...data.cells[model()][attribute()].map((cell) => row(cell, name, scale)));
  };
});
