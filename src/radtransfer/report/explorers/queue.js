// Mean time to report with and without a model that flags, by Cobham's formula for an M/G/1 queue.
explorer((data, ui) => {
  const share = (value) => ui.percent(value, 0);
  const sliders = {
    utilisation: ui.slider("Share of the reader's time that is needed", { min: 0.3, max: 0.98, step: 0.01, value: data.utilisation, text: share }),
    minutes: ui.slider("Minutes for one study", { min: 0.5, max: 20, step: 0.5, value: data.minutes }),
    variation: ui.slider("Variation of that time", { min: 0, max: 2, step: 0.1, value: data.variation }),
    prevalence: ui.slider("Prevalence", { min: 0.01, max: 0.5, step: 0.01, value: data.prevalence, text: share }),
    sensitivity: ui.slider("Sensitivity", { min: 0.5, max: 1, step: 0.01, value: data.sensitivity, text: share }),
    specificity: ui.slider("Specificity", { min: 0.5, max: 1, step: 0.01, value: data.specificity, text: share }),
  };
  const show = ui.values({
    arrival: "Everybody, in order of arrival", positive: "Diseased, flagged first",
    missed: "Diseased and not flagged", negative: "Healthy, flagged first", flagged: "Studies flagged",
  });
  const draw = ui.plot({
    label: "Mean time to report against the share of the reader's time that is needed",
    xlabel: "Share of the reader's time that is needed", ylabel: "Time to report, in reading times",
    x: [0.3, 0.98], y: [0, 40], text: (value) => (value > 0 && value < 1 ? value.toFixed(2) : value.toFixed(0)),
  });
  function delays({ utilisation, minutes, variation, prevalence, sensitivity, specificity }) {
    const residual = (utilisation * minutes * (1 + variation ** 2)) / 2;
    const flagged = prevalence * sensitivity + (1 - prevalence) * (1 - specificity);
    const ahead = 1 - utilisation * flagged;
    const first = residual / ahead + minutes;
    const missed = residual / (ahead * (1 - utilisation)) + minutes;
    return {
      flagged, missed,
      arrival: residual / (1 - utilisation) + minutes,
      positive: sensitivity * first + (1 - sensitivity) * missed,
      negative: (1 - specificity) * first + specificity * missed,
    };
  }
  return () => {
    const work = Object.fromEntries(Object.entries(sliders).map(([name, value]) => [name, value()]));
    const now = delays(work);
    const minutes = (value) => `${value.toFixed(1)} min`;
    show({
      arrival: minutes(now.arrival), positive: minutes(now.positive), missed: minutes(now.missed),
      negative: minutes(now.negative), flagged: share(now.flagged),
    });
    const loads = Array.from({ length: 69 }, (_, i) => 0.3 + 0.01 * i);
    const curve = (key) => loads.map((utilisation) => [utilisation, delays({ ...work, utilisation })[key] / work.minutes]);
    draw([
      { name: "In order of arrival", points: curve("arrival"), colour: 1 },
      { name: "Diseased, flagged first", points: curve("positive"), colour: 2, dash: "8 4" },
      { name: "Diseased and not flagged", points: curve("missed"), colour: 4, dash: "2 4" },
      { points: ["arrival", "positive", "missed"].map((key) => [work.utilisation, now[key] / work.minutes]), colour: 3, dots: true },
    ]);
  };
});
