// Sensitivity and specificity at any threshold, and what they mean at any prevalence.
explorer((data, ui) => {
  const names = data.models.map((model) => model.label);
  const model = ui.choice("Model", { ...names });
  const last = data.models[0].threshold.length - 1;
  // the slider walks over the ROC curve, whatever the scale of the scores
  const place = ui.slider("Threshold, low to high", {
    min: 0, max: last, step: 1, value: data.models[0].chosen, text: (at) => ui.percent(at / last, 0),
  });
  const prevalences = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5];
  const prevalence = ui.slider("Prevalence", {
    min: 0, max: prevalences.length - 1, step: 1,
    value: prevalences.filter((value) => value < data.prevalence).length,
    text: (at) => ui.percent(prevalences[at]),
  });
  const show = ui.values({
    threshold: "Threshold", sensitivity: "Sensitivity", specificity: "Specificity",
    ppv: "Positive predictive value", npv: "Negative predictive value",
    found: "Diseased found, of 1,000 people", missed: "Diseased missed", alarms: "False alarms",
  });
  const draw = ui.plot({
    label: "ROC curve with the chosen operating point", xlabel: "1 − specificity", ylabel: "Sensitivity",
    x: [0, 1], y: [0, 1],
  });
  return () => {
    const { label, threshold, sensitivity, specificity, chosen } = data.models[Number(model())];
    const at = place();
    const [tpr, tnr, p] = [sensitivity[at], specificity[at], prevalences[prevalence()]];
    const [tp, fp, fn, tn] = [p * tpr, (1 - p) * (1 - tnr), p * (1 - tpr), (1 - p) * tnr];
    const ratio = (part, whole) => (whole > 0 ? ui.percent(part / whole) : "–");
    show({
      threshold: threshold[at].toPrecision(3),
      sensitivity: ui.percent(tpr), specificity: ui.percent(tnr),
      ppv: ratio(tp, tp + fp), npv: ratio(tn, tn + fn),
      found: (1000 * tp).toFixed(1), missed: (1000 * fn).toFixed(1), alarms: (1000 * fp).toFixed(1),
    });
    draw([
      { name: label, points: specificity.map((value, i) => [1 - value, sensitivity[i]]), colour: 1 },
      { name: data.mark, points: [[1 - specificity[chosen], sensitivity[chosen]]], colour: 3, dots: true },
      { name: "Chosen here", points: [[1 - tnr, tpr]], colour: 2, dots: true },
    ]);
  };
});
