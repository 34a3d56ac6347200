// The dial: a clip beside its edit, with controls for an emotion, an intensity and its curve over time.
// `render({model, el})` is what anywidget calls; a page of its own calls `dial(el, header, source)`.

const PATIENCE = 90000; // milliseconds to wait for the kernel: a first clip is rendered and its face found
const REST = 250; // milliseconds without a change before readings are requested
const HIGHEST = 1.5, POINTS = 9, SVG = "http://www.w3.org/2000/svg";
const CHART_HEIGHT = 120, CHART_LEFT = 64, CHART_RIGHT = 12, CHART_EDGE = 10; // pixels

function element(parent, tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function svgElement(parent, tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

function addOptions(select, pairs) {
  pairs.forEach(([text, value]) => Object.assign(element(select, "option", "", text), { value }));
  return select;
}

function setRole(node, role, label) {
  node.setAttribute("role", role);
  if (label) node.setAttribute("aria-label", label);
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("This browser cannot show the clip (WebP)."));
    image.src = url;
  });
}

// `source` promises data from a kernel or from the page: source.clip(k), source.choice(kind, value),
// source.fields(k, mixture, key) and source.readings(k, mixture, curve, even, key), with the contents that
// `cdrl.report.dial.widget` describes. `onChange` receives what the user has chosen.
function dial(root, header, source, onChange = () => {}) {
  const { clips, emotions, colours, levels } = header;
  const state = {
    clipIndex: 0, emotion: 0, secondEmotion: -1, secondShare: 0.5, choice: null, // choice: a text or a reference
    points: Array(POINTS).fill(1), knobs: [], curve: null, clip: null, fields: null, frame: 0, playing: false,
    clipRequest: 0, choiceRequest: 0, fieldsRequest: 0, readingsRequest: 0, // only the last answer of each counts
  };
  root.classList.add("cdrl-dial", "cdrl-running");
  const bar = element(root, "div", "cdrl-bar");
  const request = element(root, "div", "cdrl-bar cdrl-request");
  const stage = element(root, "div", "cdrl-stage");
  const panes = element(stage, "div", "cdrl-panes");
  const [sourceView, editView] = ["source", "edit"].map((name) => {
    const figure = element(panes, "figure", `cdrl-${name}`);
    const canvas = element(figure, "canvas"), caption = element(figure, "figcaption", "", name);
    setRole(canvas, "img", `${name}, one frame`);
    return { canvas, caption };
  });
  const example = element(panes, "figure", "cdrl-example");
  const examplePicture = element(example, "img"), exampleCaption = element(example, "figcaption");
  example.hidden = true;
  const board = element(stage, "div", "cdrl-board");
  const controls = element(root, "div", "cdrl-controls");
  const play = element(controls, "button", "cdrl-play", "play");
  const level = element(controls, "label", "cdrl-level");
  element(level, "span", "", "intensity");
  const slider = element(level, "input", "cdrl-slider");
  Object.assign(slider, { type: "range", min: 0, max: HIGHEST, step: 0.01, value: 1 });
  const number = element(level, "output", "", "1.00");
  const shapes = element(controls, "span", "cdrl-shapes");
  const chart = element(root, "div", "cdrl-curve");
  const svg = svgElement(chart, "svg", { role: "group", "aria-label": "intensity over time; drag to draw it, or change a point with the arrow keys" });
  const status = element(root, "p", "cdrl-status");
  setRole(root, "region", "a clip beside its edit, with controls for emotion and intensity");
  setRole(bar, "group", "clip and emotion");
  setRole(request, "group", "emotion in words or as in another clip");
  setRole(board, "region", "what the guidance reads");
  setRole(shapes, "group", "shape of the intensity over time");
  setRole(status, "status");
  const sound = new Audio();
  sound.loop = true;
  const showStatus = (text) => (status.textContent = text);

  // The emotion that is shown: a mixture {emotion: weight}, and what it is called.
  function mixture() {
    if (state.choice) return state.choice.mixture;
    const first = emotions[state.emotion], second = emotions[state.secondEmotion];
    if (!second || second === first) return { [first]: 1 };
    return { [first]: Math.round(100 * (1 - state.secondShare)) / 100, [second]: Math.round(100 * state.secondShare) / 100 };
  }

  const percentages = () =>
    Object.entries(mixture())
      .map(([name, weight]) => (weight === 1 ? name : `${name} ${Math.round(100 * weight)} %`))
      .join(" + ");

  function title() {
    if (!state.choice) return percentages();
    return state.choice.kind === "text" ? `“${state.choice.name}”` : `as in ${state.choice.name}`;
  }

  const key = () => (state.choice ? `${state.choice.kind}: ${state.choice.name}` : emotions[state.emotion]);
  const strongest = () => Object.entries(mixture()).reduce((a, b) => (b[1] > a[1] ? b : a))[0];

  // One intensity for each frame: the points, evenly spaced over the clip, joined by lines.
  function intensityCurve() {
    const count = state.clip.frames, curve = new Float32Array(count);
    for (let t = 0; t < count; t++) {
      const position = (t / Math.max(1, count - 1)) * (POINTS - 1);
      const k = Math.min(POINTS - 2, Math.floor(position));
      curve[t] = state.points[k] + (position - k) * (state.points[k + 1] - state.points[k]);
    }
    return curve;
  }

  const isEven = () => state.points.every((value) => value === state.points[0]);

  function paint() {
    if (!state.clip || !state.fields) return;
    const { side, frames, rate } = state.clip;
    state.curve = state.curve || intensityCurve();
    const frame = Math.min(frames - 1, state.frame);
    const pixels = sourcePixels(frame), edited = new ImageData(side, side);
    const change = state.warp(pixels.data, fieldsAt(state.fields, state.curve, frame), edited.data);
    sourceView.canvas.getContext("2d").putImageData(pixels, 0, 0);
    editView.canvas.getContext("2d").putImageData(edited, 0, 0);
    const seconds = (frame / rate).toFixed(2);
    editView.caption.textContent = `edit (synthetic): ${title()}, ${state.curve[frame].toFixed(2)} at ${seconds} s`;
    state.frameChange = change;
    if (state.frameChangeCell) state.frameChangeCell.textContent = change.toFixed(1);
    moveCursor();
  }

  function sourcePixels(frame) {
    const { side, columns } = state.clip;
    return state.spriteSheet.getImageData((frame % columns) * side, Math.floor(frame / columns) * side, side, side);
  }

  // The curve, the waveform under it and the moment that is shown.
  function drawChart() {
    const width = Math.max(200, chart.clientWidth), height = CHART_HEIGHT;
    const plotWidth = width - CHART_LEFT - CHART_RIGHT, plotHeight = height - 2 * CHART_EDGE;
    const x = (share) => CHART_LEFT + share * plotWidth;
    const y = (intensity) => height - CHART_EDGE - (intensity / HIGHEST) * plotHeight;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const focused = state.knobs.indexOf(document.activeElement); // drawn anew below
    svg.replaceChildren();

    [[0, "0"], ...levels.map((intensity, k) => [intensity, `level ${k + 1}`])].forEach(([intensity, name]) => {
      svgElement(svg, "line", { x1: x(0), x2: x(1), y1: y(intensity), y2: y(intensity), class: "cdrl-grid" });
      svgElement(svg, "text", { x: CHART_LEFT - 8, y: y(intensity) + 4, "text-anchor": "end" }).textContent = name;
    });
    const waveform = state.clip ? state.clip.waveform : [];
    waveform.forEach((loudness, k) => {
      const half = (loudness * (height - 24)) / 2, middle = x((k + 0.5) / waveform.length);
      svgElement(svg, "line", { x1: middle, x2: middle, y1: height / 2 - half, y2: height / 2 + half, class: "cdrl-wave" });
    });
    const corners = state.points.map((intensity, k) => [x(k / (POINTS - 1)), y(intensity)]);
    const line = corners.map((corner) => corner.join(",")).join(" ");
    svgElement(svg, "polygon", { points: `${x(0)},${y(0)} ${line} ${x(1)},${y(0)}`, class: "cdrl-area" });
    svgElement(svg, "polyline", { points: line, class: "cdrl-line" });
    state.knobs = corners.map(([cx, cy], k) => svgElement(svg, "circle", { cx, cy, r: 5, class: "cdrl-knob", ...sliderRole(k) }));
    if (focused >= 0) state.knobs[focused].focus();
    state.cursor = svgElement(svg, "line", { y1: 6, y2: height - 6, class: "cdrl-cursor" });

    state.chartX = x;
    // Share of the clip and intensity under the pointer.
    state.chartPosition = (event) => {
      const box = svg.getBoundingClientRect();
      const px = ((event.clientX - box.left) / box.width) * width, py = ((event.clientY - box.top) / box.height) * height;
      const share = (px - CHART_LEFT) / plotWidth, intensity = ((height - CHART_EDGE - py) / plotHeight) * HIGHEST;
      return [clamp(share, 0, 1), clamp(intensity, 0, HIGHEST)];
    };
    moveCursor();
  }

  // A point of the curve is a slider for whoever has no pointer.
  function sliderRole(k) {
    const share = k / (POINTS - 1), { clip } = state;
    const at = clip ? `${((share * (clip.frames - 1)) / clip.rate).toFixed(2)} s` : `${Math.round(100 * share)} %`;
    const range = { "aria-valuemin": 0, "aria-valuemax": HIGHEST, "aria-valuenow": state.points[k].toFixed(2) };
    return { tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-label": `intensity at ${at}`, ...range };
  }

  const STEPS = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, PageUp: 0.25, PageDown: -0.25, Home: -HIGHEST, End: HIGHEST };
  function onKnobKey(event) {
    const k = state.knobs.indexOf(event.target), step = STEPS[event.key];
    if (k < 0 || step === undefined) return;
    event.preventDefault();
    state.points[k] = Math.round(100 * clamp(state.points[k] + step, 0, HIGHEST)) / 100;
    if (!state.playing && state.clip) state.frame = Math.round((k / (POINTS - 1)) * (state.clip.frames - 1));
    refresh();
  }
  svg.addEventListener("keydown", onKnobKey);

  function moveCursor() {
    if (!state.cursor || !state.clip) return;
    const x = state.chartX(state.frame / Math.max(1, state.clip.frames - 1));
    state.cursor.setAttribute("x1", x);
    state.cursor.setAttribute("x2", x);
  }

  // Called after every change of the curve, of the clip or of the emotion.
  function refresh() {
    state.curve = null;
    if (isEven()) {
      slider.value = state.points[0];
      number.textContent = state.points[0].toFixed(2);
    } else number.textContent = "curve";
    drawChart();
    paint();
    board.classList.add("cdrl-stale");
    clearTimeout(state.timer);
    state.timer = setTimeout(requestReadings, REST);
  }

  async function requestReadings() {
    if (!state.clip || !state.fields) return;
    const number = ++state.readingsRequest;
    const curve = intensityCurve(), zeros = curve.slice().fill(0), target = strongest(), { clipIndex } = state;
    const rounded = Array.from(curve, (intensity) => Math.round(1000 * intensity) / 1000);
    onChange({ clip: clips[clipIndex].name, emotion: mixture(), curve: rounded });
    try {
      const [edit, original] = await Promise.all([
        source.readings(clipIndex, mixture(), curve, isEven(), key()),
        source.readings(clipIndex, mixture(), zeros, true, key()),
      ]);
      if (number === state.readingsRequest) showReadings(edit, original, target);
    } catch (error) {
      if (number === state.readingsRequest) showStatus(error.message);
    }
  }

  function showReadings(edit, original, target) {
    board.classList.toggle("cdrl-stale", !edit);
    if (!edit) return showStatus("A curve is read where the kernel runs; here stands the last even intensity.");
    if (status.textContent.startsWith("A curve")) showStatus("");
    board.replaceChildren();
    element(board, "h4", "", "What the guidance reads");
    const table = element(board, "div", "cdrl-bars");
    header.labels.forEach((label, k) => {
      const before = original.emotion[k], after = edit.emotion[k];
      element(table, "span", label === target ? "cdrl-target" : "", label);
      const track = element(table, "div", "cdrl-track"), bar = element(track, "i"), mark = element(track, "b");
      bar.style.width = `${100 * after}%`;
      bar.style.background = header.label_colours[k];
      mark.style.left = `${100 * before}%`;
      track.title = `${label}: source ${before.toFixed(2)}, edit ${after.toFixed(2)}`;
      setRole(track, "meter", track.title);
      Object.entries({ valuemin: 0, valuemax: 1, valuenow: after.toFixed(2) }).forEach(([name, value]) => track.setAttribute(`aria-${name}`, value));
      element(table, "small", "", after.toFixed(2));
    });
    element(board, "p", "", "Bars: the edit. Marks: the source.");
    const facts = element(board, "div", "cdrl-facts");
    const addFact = (name, value, explanation) => {
      element(facts, "span", "", name).title = explanation;
      return element(facts, "b", "", value);
    };
    const content = edit.content === null ? "clip too short" : edit.content.toFixed(3);
    addFact("content distance to the source", content, "1 - cosine; 0: the same speech, about 1: another moment");
    addFact("mean change, clip (of 255)", edit.change.toFixed(1), "mean of |edit - source| over all pixels");
    const frameChange = (state.frameChange || 0).toFixed(1);
    state.frameChangeCell = addFact("mean change, this frame", frameChange, "as above, of the frame that is shown");
    element(board, "p", "cdrl-caveat", "The networks that guide a generator are not its evaluation: the judges of notebook 06 supervised nothing.");
  }

  async function openClip(k) {
    const number = ++state.clipRequest;
    stop();
    state.clipIndex = k;
    showStatus(header.live ? `${clips[k].name}: the clip is made and its face found ...` : "");
    try {
      const clip = await source.clip(k), image = await loadImage(clip.sprite_sheet);
      if (number !== state.clipRequest) return;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      state.spriteSheet = canvas.getContext("2d", { willReadFrequently: true });
      state.spriteSheet.drawImage(image, 0, 0);
      state.clip = clip;
      state.fields = null;
      state.frame = Math.floor(clip.frames / 2);
      for (const view of [sourceView, editView]) view.canvas.width = view.canvas.height = clip.side;
      sourceView.canvas.getContext("2d").putImageData(sourcePixels(state.frame), 0, 0);
      sourceView.caption.textContent = `source: ${clip.note}`;
      if (clip.sound) sound.src = clip.sound;
      else sound.removeAttribute("src");
      await loadFields();
    } catch (error) {
      if (number === state.clipRequest) showStatus(error.message);
    }
  }

  // Fetches the fields of the chosen emotion; after that every edit is computed in the browser.
  async function loadFields() {
    const number = ++state.fieldsRequest;
    [...bar.querySelectorAll(".cdrl-emotion")].forEach((button, k) => button.setAttribute("aria-pressed", !state.choice && k === state.emotion));
    root.style.setProperty("--accent", header.label_colours[header.labels.indexOf(strongest())]);
    showChoice();
    if (!state.clip) return;
    if (header.live) showStatus(`${title()}: the fields are computed ...`);
    try {
      const { bytes, ...shape } = await source.fields(state.clipIndex, mixture(), key());
      if (number !== state.fieldsRequest) return;
      state.fields = unpackFields(bytes, shape);
      state.warp = warper(state.clip.side, state.fields);
      showStatus(state.clip.sound ? "" : "This clip has no sound; the pictures play all the same.");
      refresh();
    } catch (error) {
      if (number === state.fieldsRequest) showStatus(error.message);
    }
  }

  // The guidance reads texts and references as `cdrl edit` does.
  async function choose(kind, value, name) {
    const number = ++state.choiceRequest;
    if (header.live) showStatus(`${name}: the guidance reads it ...`);
    try {
      const choice = await source.choice(kind, value);
      if (number !== state.choiceRequest) return;
      state.choice = choice;
      await loadFields();
    } catch (error) {
      if (number === state.choiceRequest) showStatus(error.message);
    }
  }

  function chooseLabel(k) {
    state.choiceRequest++;
    state.emotion = k;
    state.choice = null;
    loadFields();
  }

  // The name and the mixture of a text or reference, and the reference's picture.
  function showChoice() {
    const { choice } = state;
    textInput.value = choice && choice.kind === "text" ? choice.name : "";
    referenceInput.value = choice && choice.kind === "reference" ? choice.name : "";
    mixtureText.textContent = choice ? `read as ${percentages()}` : "";
    example.hidden = !(choice && choice.picture);
    if (example.hidden) return;
    examplePicture.src = choice.picture;
    examplePicture.alt = "the reference";
    exampleCaption.textContent = `reference: ${choice.name}`;
  }

  function stop() {
    state.playing = false;
    play.textContent = "play";
    sound.pause();
  }

  // The sound is the clock; where it cannot be played, the page's own time is.
  function start() {
    if (!state.fields) return;
    state.playing = true;
    play.textContent = "pause";
    const { rate, frames } = state.clip, duration = frames / rate;
    const begin = performance.now() - (1000 * state.frame) / rate;
    let soundPlays = false;
    if (state.clip.sound) {
      sound.currentTime = state.frame / rate;
      sound.play().then(() => (soundPlays = true)).catch(() => showStatus("No sound can be played here; the pictures play all the same."));
    }
    const step = () => {
      if (!state.playing) return;
      const seconds = soundPlays ? sound.currentTime : (performance.now() - begin) / 1000;
      state.frame = Math.min(frames - 1, Math.floor((seconds % duration) * rate + 1e-6));
      paint();
      requestAnimationFrame(step);
    };
    step();
  }

  // Controls: clip and emotion.
  const clipInput = element(bar, "select", "cdrl-clip");
  clipInput.setAttribute("aria-label", "source clip");
  addOptions(clipInput, clips.map((clip, k) => [clip.name, k]));
  clipInput.addEventListener("change", () => openClip(+clipInput.value));
  emotions.forEach((name, k) => {
    const button = element(bar, "button", "cdrl-emotion", name);
    button.style.setProperty("--colour", colours[k]);
    button.addEventListener("click", () => chooseLabel(k));
  });

  // Controls: text and reference. A page offers those that were read when it was written.
  const choiceNames = (kind) => (header.choices || []).filter((choice) => choice.kind === kind).map((choice) => choice.name);
  const addSelect = (parent, empty, names) => addOptions(element(parent, "select"), [[empty, ""], ...names.map((name) => [name, name])]);
  const textBox = element(request, "label", "cdrl-text", "in words "), referenceBox = element(request, "label", "cdrl-reference", "as in ");
  const mixtureText = element(request, "span", "cdrl-mixture");
  const textInput = header.live ? element(textBox, "input") : addSelect(textBox, "…", choiceNames("text"));
  if (header.live) {
    const texts = header.texts || [], list = element(textBox, "datalist");
    list.id = `cdrl-texts-${Math.random().toString(36).slice(2)}`;
    texts.forEach((text) => (element(list, "option").value = text));
    textInput.setAttribute("list", list.id);
    const words = header.vocabulary ? `the language prior knows: ${header.vocabulary.join(", ")}` : "any words";
    Object.assign(textInput, { type: "text", placeholder: texts[0] || "", title: words });
  }
  const referenceInput = addSelect(referenceBox, "no clip", header.live ? header.references || [] : choiceNames("reference"));
  textBox.hidden = !header.live && textInput.options.length < 2;
  referenceBox.hidden = referenceInput.options.length < 2;
  textInput.addEventListener("change", () => {
    const text = textInput.value.trim();
    if (text) choose("text", text, `“${text}”`);
    else chooseLabel(state.emotion);
  });
  referenceInput.addEventListener("change", () => {
    if (referenceInput.value) choose("reference", referenceInput.selectedIndex - 1, referenceInput.value);
    else chooseLabel(state.emotion);
  });

  // Controls: a second emotion, where the kernel can compute the fields of a mixture.
  if (header.live) {
    const blend = element(bar, "label", "cdrl-blend", "with ");
    const second = element(blend, "select"), share = element(blend, "input");
    second.setAttribute("aria-label", "second emotion");
    addOptions(second, [["nothing else", -1], ...emotions.map((name, k) => [name, k])]);
    Object.assign(share, { type: "range", min: 0.1, max: 0.9, step: 0.1, value: 0.5, title: "its share", ariaLabel: "share of the second emotion" });
    share.hidden = true;
    second.addEventListener("change", () => {
      state.secondEmotion = +second.value;
      share.hidden = state.secondEmotion < 0;
      chooseLabel(state.emotion);
    });
    share.addEventListener("change", () => {
      state.secondShare = +share.value;
      if (state.secondEmotion >= 0) chooseLabel(state.emotion);
    });
  }

  // Controls: intensity and its curve.
  play.addEventListener("click", () => (state.playing ? stop() : start()));
  slider.addEventListener("input", () => {
    state.points.fill(+slider.value);
    refresh();
  });
  const shapeFunctions = { rise: (share) => share, swell: (share) => Math.sin(Math.PI * share), fade: (share) => 1 - share };
  element(shapes, "button", "", "even").addEventListener("click", () => {
    state.points.fill(Math.max(...state.points) || 1);
    refresh();
  });
  Object.entries(shapeFunctions).forEach(([name, intensityOf]) =>
    element(shapes, "button", "", name).addEventListener("click", () => {
      state.points = state.points.map((_, k) => Math.round(100 * intensityOf(k / (POINTS - 1))) / 100);
      refresh();
    }));
  let lastPoint = null; // while the curve is drawn
  const drawCurve = (event) => {
    const [share, intensity] = state.chartPosition(event);
    const point = Math.round(share * (POINTS - 1)), from = lastPoint === null ? point : lastPoint;
    for (let k = Math.min(from, point); k <= Math.max(from, point); k++) state.points[k] = intensity;
    lastPoint = point;
    if (!state.playing && state.clip) state.frame = Math.round((point / (POINTS - 1)) * (state.clip.frames - 1));
    refresh();
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    drawCurve(event);
  });
  svg.addEventListener("pointermove", (event) => lastPoint !== null && drawCurve(event));
  ["pointerup", "pointercancel"].forEach((kind) => svg.addEventListener(kind, () => (lastPoint = null)));
  const watcher = new ResizeObserver(drawChart);
  watcher.observe(chart);

  const instance = {
    state,
    show: (frame) => {
      state.frame = frame;
      paint();
    },
    stop: () => {
      stop();
      watcher.disconnect();
      clearTimeout(state.timer);
    },
  };
  root.cdrl = instance;
  openClip(0);
  return instance;
}

const objectUrl = (bytes, type) => (bytes.byteLength ? URL.createObjectURL(new Blob([bytes], { type })) : "");

// The data of a notebook: requested from the kernel; clips, choices and fields are kept.
function kernelSource(model) {
  const pending = new Map(), cache = new Map();
  let number = 0;
  const onMessage = ({ key, fault, ...content }, buffers) => {
    const request = pending.get(key);
    if (!request) return;
    pending.delete(key);
    if (fault) request.reject(new Error(fault));
    else request.resolve({ ...content, buffers });
  };
  model.on("msg:custom", onMessage);

  const fetchAnswer = (what, parameters) => new Promise((resolve, reject) => {
    const key = `${what} ${number++}`;
    pending.set(key, { resolve, reject });
    model.send({ key, what, ...parameters });
    setTimeout(() => {
      pending.delete(key);
      reject(new Error("The kernel does not answer: run the cell again. What is on the screen still turns and plays."));
    }, PATIENCE);
  });
  const fetchOnce = (what, parameters, convert) => {
    const name = JSON.stringify([what, parameters]);
    if (!cache.has(name)) {
      const answer = fetchAnswer(what, parameters).then(convert);
      answer.catch(() => cache.delete(name)); // a failed request may be tried again
      cache.set(name, answer);
    }
    return cache.get(name);
  };
  const bytesOf = (buffer) => new Uint8Array(buffer.buffer || buffer, buffer.byteOffset || 0, buffer.byteLength);
  return {
    clip: (clip) => fetchOnce("clip", { clip }, ({ buffers: [pictures, sound], ...facts }) =>
      ({ ...facts, sprite_sheet: objectUrl(pictures, "image/webp"), sound: objectUrl(sound, "audio/mpeg") })),
    choice: (kind, value) => fetchOnce(kind, kind === "text" ? { clip: 0, text: value } : { clip: value }, ({ buffers, ...choice }) => choice),
    fields: (clip, mixture) => fetchOnce("fields", { clip, mixture }, ({ buffers, ...shape }) => ({ ...shape, bytes: bytesOf(buffers[0]) })),
    readings: (clip, mixture, curve) => {
      const parameters = { clip, mixture, curve: Array.from(curve) };
      const unchanged = curve.every((intensity) => !intensity);
      return unchanged ? fetchOnce("readings", parameters, (readings) => readings) : fetchAnswer("readings", parameters);
    },
    stop: () => model.off("msg:custom", onMessage),
  };
}

// The data of a page: in one block; readings were taken at a few even intensities and are interpolated between them.
function pageSource(header, block) {
  const bytes = Uint8Array.from(atob(block), (c) => c.charCodeAt(0));
  const piece = ([offset, length]) => bytes.subarray(offset, offset + length);
  const fieldsOf = (clip, key) => header.clip_data[clip].fields[key];
  return {
    clip: async (clip) => {
      const data = header.clip_data[clip];
      return { ...data, sprite_sheet: objectUrl(piece(data.sprite_sheet), "image/webp"), sound: objectUrl(piece(data.sound), "audio/mpeg") };
    },
    choice: async (kind, value) => {
      const choices = header.choices.filter((choice) => choice.kind === kind);
      return choices.find((choice, k) => choice.name === value || k === value);
    },
    fields: async (clip, mixture, key) => ({ ...fieldsOf(clip, key), bytes: piece(fieldsOf(clip, key).block) }),
    readings: async (clip, mixture, curve, even, key) => {
      if (!even) return null;
      const { readings } = fieldsOf(clip, key), intensities = header.reading_intensities, intensity = curve[0];
      let k = 0;
      while (k < intensities.length - 2 && intensity >= intensities[k + 1]) k++;
      const share = (intensity - intensities[k]) / (intensities[k + 1] - intensities[k]);
      const mix = (a, b) => a + share * (b - a);
      const low = readings[k], high = readings[k + 1];
      return {
        emotion: low.emotion.map((probability, j) => mix(probability, high.emotion[j])),
        content: low.content === null ? null : mix(low.content, high.content),
        change: mix(low.change, high.change),
      };
    },
  };
}

function render({ model, el }) {
  const source = kernelSource(model);
  const instance = dial(el, model.get("header"), source, ({ clip, emotion, curve }) => {
    model.set("clip", clip);
    model.set("emotion", emotion);
    model.set("curve", curve);
    model.save_changes();
  });
  return () => {
    source.stop();
    instance.stop();
  };
}

export default { render };
