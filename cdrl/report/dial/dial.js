// The dial: a clip beside its edit, with an emotion, an intensity and its curve over time under the reader's hand.
// `render({model, el})` is what anywidget calls; a page of its own calls `dial(el, header, source)`.

const PATIENCE = 90000; // milliseconds to wait for the kernel: a first clip is rendered and its face found
const HIGHEST = 1.5, POINTS = 9, SVG = "http://www.w3.org/2000/svg";

function element(parent, tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function drawn(parent, tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

// source.take(k), source.ask(kind, what), source.bank(k, mixture, key) and source.read(k, mixture, curve, even, key) promise what
// `cdrl.report.dial.widget` describes.
function dial(root, header, source, chosen = () => {}) {
  const { clips, emotions, colours, levels } = header;
  const state = { clip: 0, emotion: 0, other: -1, share: 0.5, points: Array(POINTS).fill(1), frame: 0, playing: false, asked: 0 };
  root.classList.add("cdrl-dial", "cdrl-on");
  const bar = element(root, "div", "cdrl-bar");
  const asked = element(root, "div", "cdrl-bar cdrl-asked");
  const stage = element(root, "div", "cdrl-stage");
  const panes = element(stage, "div", "cdrl-panes");
  const views = ["source", "edit"].map((name) => {
    const figure = element(panes, "figure", `cdrl-${name}`);
    return { canvas: element(figure, "canvas"), caption: element(figure, "figcaption", "", name) };
  });
  const like = element(panes, "figure", "cdrl-like"), likeness = element(like, "img"), liked = element(like, "figcaption");
  like.hidden = true;
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
  const svg = drawn(chart, "svg", { role: "img", "aria-label": "intensity over time; drag to draw it" });
  const said = element(root, "p", "cdrl-said");
  const sound = new Audio();
  sound.loop = true;
  const say = (text) => (said.textContent = text);
  const mixture = () => {
    if (state.wanted) return state.wanted.mixture;
    const first = emotions[state.emotion], second = emotions[state.other];
    if (!second || second === first) return { [first]: 1 };
    return { [first]: Math.round(100 * (1 - state.share)) / 100, [second]: Math.round(100 * state.share) / 100 };
  };
  const shares = () => Object.entries(mixture()).map(([name, share]) => (share === 1 ? name : `${name} ${Math.round(100 * share)} %`)).join(" + ");
  const title = () => (!state.wanted ? shares() : state.wanted.kind === "words" ? `“${state.wanted.name}”` : `as in ${state.wanted.name}`);
  const key = () => (state.wanted ? `${state.wanted.kind}: ${state.wanted.name}` : emotions[state.emotion]);
  const strongest = () => Object.entries(mixture()).reduce((a, b) => (b[1] > a[1] ? b : a))[0];

  // One intensity for each frame: the points, evenly spaced over the clip, joined by lines.
  function curve() {
    const count = state.take.frames, made = new Float32Array(count);
    for (let t = 0; t < count; t++) {
      const place = (t / Math.max(1, count - 1)) * (POINTS - 1), k = Math.min(POINTS - 2, Math.floor(place));
      made[t] = state.points[k] + (place - k) * (state.points[k + 1] - state.points[k]);
    }
    return made;
  }

  const flat = () => state.points.every((value) => value === state.points[0]);

  function paint() {
    if (!state.take || !state.bank) return;
    const began = performance.now(), { side, frames } = state.take;
    state.curve = state.curve || curve();
    const frame = Math.min(frames - 1, state.frame), left = pixels(frame);
    views[0].canvas.getContext("2d").putImageData(left, 0, 0);
    const right = new ImageData(side, side);
    state.change = state.warp(left.data, fieldsAt(state.bank, state.curve, frame), right.data);
    views[1].canvas.getContext("2d").putImageData(right, 0, 0);
    views[1].caption.textContent = `edit (synthetic): ${title()}, ${state.curve[frame].toFixed(2)} at ${(frame / state.take.rate).toFixed(2)} s`;
    if (state.moving) state.moving.textContent = state.change.toFixed(1);
    head();
    made.milliseconds = performance.now() - began;
  }

  function pixels(frame) {
    const { side, columns } = state.take;
    return state.sheet.getImageData((frame % columns) * side, Math.floor(frame / columns) * side, side, side);
  }

  // The curve, the waveform under it and the moment that is shown.
  function graph() {
    const wide = Math.max(200, chart.clientWidth), high = 120, x = (share) => 64 + share * (wide - 76), y = (value) => high - 10 - (value / HIGHEST) * (high - 20);
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    svg.replaceChildren();
    [[0, "0"], ...levels.map((value, k) => [value, `level ${k + 1}`])].forEach(([value, name]) => {
      drawn(svg, "line", { x1: x(0), x2: x(1), y1: y(value), y2: y(value), class: "cdrl-grid" });
      drawn(svg, "text", { x: 56, y: y(value) + 4, "text-anchor": "end" }).textContent = name;
    });
    const bars = state.take ? state.take.loudness : [];
    bars.forEach((value, k) => {
      const half = (value * (high - 24)) / 2, at = x((k + 0.5) / bars.length);
      drawn(svg, "line", { x1: at, x2: at, y1: high / 2 - half, y2: high / 2 + half, class: "cdrl-wave" });
    });
    const corners = state.points.map((value, k) => `${x(k / (POINTS - 1))},${y(value)}`);
    drawn(svg, "polygon", { points: `${x(0)},${y(0)} ${corners.join(" ")} ${x(1)},${y(0)}`, class: "cdrl-area" });
    drawn(svg, "polyline", { points: corners.join(" "), class: "cdrl-line" });
    state.points.forEach((value, k) => drawn(svg, "circle", { cx: x(k / (POINTS - 1)), cy: y(value), r: 5, class: "cdrl-knob" }));
    state.cursor = drawn(svg, "line", { y1: 6, y2: high - 6, class: "cdrl-head" });
    state.place = (event) => {
      const box = svg.getBoundingClientRect(), share = ((event.clientX - box.left) / box.width) * wide, tall = ((event.clientY - box.top) / box.height) * high;
      return [Math.min(1, Math.max(0, (share - 64) / (wide - 76))), Math.min(HIGHEST, Math.max(0, ((high - 10 - tall) / (high - 20)) * HIGHEST))];
    };
    state.across = x;
    head();
  }

  function head() {
    if (!state.cursor || !state.take) return;
    const at = state.across(state.frame / Math.max(1, state.take.frames - 1));
    state.cursor.setAttribute("x1", at);
    state.cursor.setAttribute("x2", at);
  }

  function turned() {
    state.curve = null;
    if (flat()) [slider.value, number.textContent] = [state.points[0], state.points[0].toFixed(2)];
    else number.textContent = "curve";
    graph();
    paint();
    board.classList.add("cdrl-stale");
    clearTimeout(state.timer);
    state.timer = setTimeout(read, 250);
  }

  // Readings are asked for when the hand rests.
  async function read() {
    if (!state.take || !state.bank) return;
    const mine = ++state.asked, wanted = curve(), name = strongest(), from = key();
    chosen({ clip: clips[state.clip].name, emotion: mixture(), curve: Array.from(wanted, (value) => Math.round(1000 * value) / 1000) });
    try {
      const [now, before] = await Promise.all([source.read(state.clip, mixture(), wanted, flat(), from), source.read(state.clip, mixture(), wanted.slice().fill(0), true, from)]);
      if (mine === state.asked) tell(now, before, name);
    } catch (error) {
      if (mine === state.asked) say(error.message);
    }
  }

  function tell(now, before, wanted) {
    board.classList.toggle("cdrl-stale", !now);
    if (!now) return say("A curve is read where the kernel runs; here stands the last even intensity.");
    if (said.textContent.startsWith("A curve")) say("");
    board.replaceChildren();
    element(board, "h4", "", "What the guidance reads");
    const table = element(board, "div", "cdrl-bars");
    header.labels.forEach((label, k) => {
      element(table, "span", label === wanted ? "cdrl-wanted" : "", label);
      const track = element(table, "div", "cdrl-track"), bar = element(track, "i"), tick = element(track, "b");
      bar.style.width = `${100 * now.emotion[k]}%`;
      bar.style.background = header.label_colours[k];
      tick.style.left = `${100 * before.emotion[k]}%`;
      track.title = `${label}: source ${before.emotion[k].toFixed(2)}, edit ${now.emotion[k].toFixed(2)}`;
      element(table, "small", "", now.emotion[k].toFixed(2));
    });
    element(board, "p", "", "Bars: the edit. Marks: the source.");
    const facts = element(board, "div", "cdrl-facts");
    const fact = (name, value, why) => {
      element(facts, "span", "", name).title = why;
      return element(facts, "b", "", value);
    };
    fact("content distance to the source", now.content === null ? "clip too short" : now.content.toFixed(3), "1 - cosine; 0: the same speech, about 1: another moment");
    fact("mean change, clip (of 255)", now.change.toFixed(1), "mean of |edit - source| over all pixels");
    state.moving = fact("mean change, this frame", (state.change || 0).toFixed(1), "as above, drawn just now");
    element(board, "p", "cdrl-honest", "The networks that guide a generator are not its evaluation: the judges of notebook 06 supervised nothing.");
  }

  const loaded = (url) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("This browser cannot show the clip (WebP)."));
    image.src = url;
  });

  async function open(k) {
    const mine = (state.opening = (state.opening || 0) + 1);
    stop();
    state.clip = k;
    say(header.live ? `${clips[k].name}: the clip is made and its face found ...` : "");
    try {
      const take = await source.take(k), image = await loaded(take.sheet);
      if (mine !== state.opening) return;
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [image.naturalWidth, image.naturalHeight];
      state.sheet = sheet.getContext("2d", { willReadFrequently: true });
      state.sheet.drawImage(image, 0, 0);
      state.take = take;
      state.bank = null;
      state.frame = Math.floor(take.frames / 2);
      views.forEach(({ canvas }) => (canvas.width = canvas.height = take.side));
      views[0].canvas.getContext("2d").putImageData(pixels(state.frame), 0, 0);
      views[0].caption.textContent = `source: ${take.note}`;
      if (take.sound) sound.src = take.sound;
      else sound.removeAttribute("src");
      await feel();
    } catch (error) {
      if (mine === state.opening) say(error.message);
    }
  }

  // Fetches the fields of the chosen emotion; then every turn is the browser's own.
  async function feel() {
    const mine = (state.feeling = (state.feeling || 0) + 1);
    [...bar.querySelectorAll(".cdrl-emotion")].forEach((button, k) => button.setAttribute("aria-pressed", !state.wanted && k === state.emotion));
    root.style.setProperty("--dial", header.label_colours[header.labels.indexOf(strongest())]);
    tellWanted();
    if (!state.take) return;
    if (header.live) say(`${title()}: the fields are computed ...`);
    try {
      const { bytes, ...shape } = await source.bank(state.clip, mixture(), key());
      if (mine !== state.feeling) return;
      state.bank = unpackBank(bytes, shape);
      state.warp = warper(state.take.side, state.bank);
      say(state.take.sound ? "" : "This clip has no sound; the pictures play all the same.");
      turned();
    } catch (error) {
      if (mine === state.feeling) say(error.message);
    }
  }

  // Words and references are read by the guidance, as `cdrl edit` reads them; what they were read as is said.
  async function ask(kind, what, name) {
    const mine = (state.wanting = (state.wanting || 0) + 1);
    if (header.live) say(`${name}: the guidance reads it ...`);
    try {
      const wanted = await source.ask(kind, what);
      if (mine !== state.wanting) return;
      state.wanted = wanted;
      await feel();
    } catch (error) {
      if (mine === state.wanting) say(error.message);
    }
  }

  function label(k) {
    state.wanting = (state.wanting || 0) + 1;
    [state.emotion, state.wanted] = [k, null];
    feel();
  }

  function tellWanted() {
    const { wanted } = state;
    words.value = wanted && wanted.kind === "words" ? wanted.name : "";
    reference.value = wanted && wanted.kind === "clip" ? wanted.name : "";
    reading.textContent = wanted ? `read as ${shares()}` : "";
    like.hidden = !(wanted && wanted.still);
    if (!like.hidden) [likeness.src, likeness.alt, liked.textContent] = [wanted.still, "the reference", `reference: ${wanted.name}`];
  }

  function stop() {
    state.playing = false;
    play.textContent = "play";
    sound.pause();
  }

  // The sound is the clock; where it cannot be played, the page's own time is.
  function start() {
    if (!state.bank) return;
    state.playing = true;
    play.textContent = "pause";
    const { rate, frames } = state.take, length = frames / rate, begun = performance.now() - (1000 * state.frame) / rate;
    let heard = false;
    if (state.take.sound) {
      sound.currentTime = state.frame / rate;
      sound.play().then(() => (heard = true)).catch(() => say("No sound can be played here; the pictures play all the same."));
    }
    const step = () => {
      if (!state.playing) return;
      const time = heard ? sound.currentTime : (performance.now() - begun) / 1000;
      state.frame = Math.min(frames - 1, Math.floor((time % length) * rate + 1e-6));
      paint();
      requestAnimationFrame(step);
    };
    step();
  }

  const pick = element(bar, "select", "cdrl-clip");
  pick.setAttribute("aria-label", "source clip");
  clips.forEach((clip, k) => Object.assign(element(pick, "option", "", clip.name), { value: k }));
  pick.addEventListener("change", () => open(+pick.value));
  emotions.forEach((name, k) => {
    const button = element(bar, "button", "cdrl-emotion", name);
    button.style.setProperty("--own", colours[k]);
    button.addEventListener("click", () => label(k));
  });
  const offered = (kind) => (header.choices || []).filter((each) => each.kind === kind).map((each) => each.name);
  const choose = (parent, none, names) => {
    const made = element(parent, "select");
    [["", none], ...names.map((name) => [name, name])].forEach(([value, text]) => Object.assign(element(made, "option", "", text), { value }));
    return made;
  };
  const wordsBox = element(asked, "label", "cdrl-words", "in words "), clipBox = element(asked, "label", "cdrl-reference", "as in ");
  const reading = element(asked, "span", "cdrl-reading");
  const words = header.live ? element(wordsBox, "input") : choose(wordsBox, "…", offered("words"));
  if (header.live) {
    const list = element(wordsBox, "datalist");
    list.id = `cdrl-words-${Math.random().toString(36).slice(2)}`;
    (header.texts || []).forEach((text) => (element(list, "option").value = text));
    words.setAttribute("list", list.id);
    Object.assign(words, { type: "text", placeholder: (header.texts || [])[0] || "", title: header.words ? `the language prior knows: ${header.words.join(", ")}` : "any words" });
  }
  const reference = choose(clipBox, "no clip", header.live ? header.references || [] : offered("clip"));
  wordsBox.hidden = !header.live && words.options.length < 2;
  clipBox.hidden = reference.options.length < 2;
  words.addEventListener("change", () => (words.value.trim() ? ask("words", words.value.trim(), `“${words.value.trim()}”`) : label(state.emotion)));
  reference.addEventListener("change", () => (reference.value ? ask("clip", reference.selectedIndex - 1, reference.value) : label(state.emotion)));
  if (header.live) {
    const blend = element(bar, "label", "cdrl-blend"), second = element(blend, "select"), share = element(blend, "input");
    blend.prepend("with ");
    [["nothing else", -1], ...emotions.map((name, k) => [name, k])].forEach(([name, k]) => Object.assign(element(second, "option", "", name), { value: k }));
    Object.assign(share, { type: "range", min: 0.1, max: 0.9, step: 0.1, value: 0.5, title: "its share" });
    share.hidden = true;
    second.addEventListener("change", () => ((state.other = +second.value), (share.hidden = state.other < 0), label(state.emotion)));
    share.addEventListener("change", () => ((state.share = +share.value), state.other >= 0 && label(state.emotion)));
  }
  play.addEventListener("click", () => (state.playing ? stop() : start()));
  slider.addEventListener("input", () => (state.points.fill(+slider.value), turned()));
  const shape = { even: () => Math.max(...state.points) || 1, rise: (t) => t, swell: (t) => Math.sin(Math.PI * t), fade: (t) => 1 - t };
  Object.entries(shape).forEach(([name, value]) =>
    element(shapes, "button", "", name).addEventListener("click", () => {
      const top = name === "even" ? value() : 1;
      state.points = state.points.map((_, k) => (name === "even" ? top : Math.round(100 * value(k / (POINTS - 1))) / 100));
      turned();
    }));
  let drawing = null;
  const bend = (event) => {
    const [share, value] = state.place(event), near = Math.round(share * (POINTS - 1)), from = drawing === null ? near : drawing;
    for (let k = Math.min(from, near); k <= Math.max(from, near); k++) state.points[k] = value;
    drawing = near;
    if (!state.playing && state.take) state.frame = Math.round((near / (POINTS - 1)) * (state.take.frames - 1));
    turned();
  };
  svg.addEventListener("pointerdown", (event) => (svg.setPointerCapture(event.pointerId), bend(event)));
  svg.addEventListener("pointermove", (event) => drawing !== null && bend(event));
  ["pointerup", "pointercancel"].forEach((kind) => svg.addEventListener(kind, () => (drawing = null)));
  const watcher = new ResizeObserver(graph);
  watcher.observe(chart);
  const made = {
    state, turned, milliseconds: 0,
    show: (frame) => ((state.frame = frame), paint()),
    stop: () => (stop(), watcher.disconnect(), clearTimeout(state.timer)),
  };
  root.cdrl = made;
  open(0);
  return made;
}

// The notebook's side: clips, fields and readings are asked of the kernel and the first two are kept.
function kernel(model) {
  const waiting = new Map(), kept = new Map();
  let number = 0;
  const answer = ({ key, fault, ...reply }, buffers) => {
    const asked = waiting.get(key);
    if (!asked) return;
    waiting.delete(key);
    if (fault) asked.reject(new Error(fault));
    else asked.resolve({ ...reply, buffers });
  };
  model.on("msg:custom", answer);
  const ask = (what, more) => new Promise((resolve, reject) => {
    const key = `${what} ${number++}`;
    waiting.set(key, { resolve, reject });
    model.send({ key, what, ...more });
    setTimeout(() => {
      waiting.delete(key);
      reject(new Error("The kernel does not answer: run the cell again. What is on the screen still turns and plays."));
    }, PATIENCE);
  });
  const once = (what, more, use) => {
    const name = JSON.stringify([what, more]);
    if (!kept.has(name)) kept.set(name, ask(what, more).then(use).catch((error) => (kept.delete(name), Promise.reject(error))));
    return kept.get(name);
  };
  const address = (buffer, type) => (buffer.byteLength ? URL.createObjectURL(new Blob([buffer], { type })) : "");
  return {
    take: (clip) => once("take", { clip }, ({ buffers, ...take }) => ({ ...take, sheet: address(buffers[0], "image/webp"), sound: address(buffers[1], "audio/mpeg") })),
    ask: (kind, what) => once(kind, kind === "words" ? { clip: 0, text: what } : { clip: what }, ({ buffers, ...wanted }) => wanted),
    bank: (clip, mixture) => once("bank", { clip, mixture }, ({ buffers, ...shape }) => ({ ...shape, bytes: new Uint8Array(buffers[0].buffer || buffers[0], buffers[0].byteOffset || 0, buffers[0].byteLength) })),
    read: (clip, mixture, curve) => {
      const more = { clip, mixture, curve: Array.from(curve) };
      return curve.some((value) => value) ? ask("read", more) : once("read", more, (reply) => reply);
    },
    stop: () => model.off("msg:custom", answer),
  };
}

// A page's side: everything lies in one block; readings were taken at a few even intensities and lie between them.
function held(header, block) {
  const bytes = Uint8Array.from(atob(block), (c) => c.charCodeAt(0));
  const part = ([low, length]) => bytes.subarray(low, low + length);
  const address = (where, type) => (where[1] ? URL.createObjectURL(new Blob([part(where)], { type })) : "");
  const bankOf = (clip, key) => header.takes[clip].banks[key];
  return {
    take: async (clip) => {
      const take = header.takes[clip];
      return { ...take, sheet: address(take.sheet, "image/webp"), sound: address(take.sound, "audio/mpeg") };
    },
    ask: async (kind, what) => header.choices.filter((each) => each.kind === kind).find((each, k) => each.name === what || k === what),
    bank: async (clip, mixture, key) => ({ ...bankOf(clip, key), bytes: part(bankOf(clip, key).where) }),
    read: async (clip, mixture, curve, even, key) => {
      if (!even) return null;
      const { readings } = bankOf(clip, key), at = header.read_at, value = curve[0];
      let k = 0;
      while (k < at.length - 2 && value >= at[k + 1]) k++;
      const share = (value - at[k]) / (at[k + 1] - at[k]), mix = (a, b) => a + share * (b - a);
      const [low, high] = [readings[k], readings[k + 1]];
      return {
        emotion: low.emotion.map((each, j) => mix(each, high.emotion[j])),
        content: low.content === null ? null : mix(low.content, high.content), change: mix(low.change, high.change),
      };
    },
  };
}

function render({ model, el }) {
  const source = kernel(model);
  const made = dial(el, model.get("header"), source, ({ clip, emotion, curve }) => {
    model.set("clip", clip);
    model.set("emotion", emotion);
    model.set("curve", curve);
    model.save_changes();
  });
  return () => {
    source.stop();
    made.stop();
  };
}

export default { render };
