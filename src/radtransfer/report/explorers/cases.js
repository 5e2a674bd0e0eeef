// Images with a method's map over them and the experts' boxes.
explorer((data, ui) => {
  const number = ui.choice("Case", { ...data.cases.map((one) => one.title) });
  const method = ui.choice("Method", data.methods);
  const overlay = ui.slider("Overlay", { min: 0, max: 1, step: 0.05, value: 0.7, text: (part) => ui.percent(part, 0) });
  const framed = ui.checkbox("Expert's box", true);
  const show = ui.values({ truth: "Reference standard", score: "Score of the network", inside: "Of the map inside the box", expert: "Expert" });
  const layer = () => ui.svg("image", { width: 100, height: 100 });
  const [picture, map, boxes] = [layer(), layer(), ui.svg("g")];
  const drawing = ui.add(ui.svg("svg", { viewBox: "0 0 100 100", role: "img" }, picture, map, boxes));
  return () => {
    const one = data.cases[Number(number())];
    const name = method();
    picture.setAttribute("href", one.image);
    map.setAttribute("href", one.maps[name]);
    map.setAttribute("opacity", overlay());
    boxes.replaceChildren(...(framed() ? one.boxes : []).map(([x, y, width, height]) => ui.svg("rect", {
      x: 100 * x, y: 100 * y, width: 100 * width, height: 100 * height, fill: "none", stroke: "#56b4e9", "stroke-width": 0.8,
    })));
    drawing.setAttribute("aria-label", `${one.title}, with the map of ${data.methods[name]}`);
    show({
      truth: one.truth, score: one.score.toFixed(3), expert: one.expert,
      inside: one.boxes.length ? ui.percent(one.inside[name], 0) : "–",
    });
  };
});
