// The explorer: two maps of the same frames, the chosen frame's face and clip, and its neighbours.
// `render({model, el})` is what anywidget calls; a page of its own calls `explorer(el, header, bytes, source)`.

const PATIENCE = 30000; // milliseconds to wait for the kernel

// The arrays of `cdrl.report.explorer.payload`, in its order. P maps of n points, F factors, K neighbours a map.
function unpack(header, bytes) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { n, maps, factors } = header;
  let offset = 0;
  const take = (Kind, count) => {
    const array = new Kind(buffer, offset, count);
    offset += count * Kind.BYTES_PER_ELEMENT;
    return array;
  };
  const points = maps.map(() => take(Float32Array, 2 * n));
  const nearest = maps.map((map) => take(Int32Array, n * map.near));
  const likeness = maps.map((map) => take(Float32Array, n * map.near));
  const clip = take(Int32Array, n);
  const seconds = take(Float32Array, n);
  return { points, nearest, likeness, clip, seconds, codes: factors.map(() => take(Uint16Array, n)) };
}

// source.face(i) and source.clip(c) promise an address of a picture and {url, sound} of a film.
function explorer(root, header, bytes, source, selected = () => {}) {
  const { points, nearest, likeness, clip, seconds, codes } = unpack(header, bytes);
  const { n, maps, factors } = header;
  const palettes = factors.map((factor) => factor.colours.map(rgb));
  const state = { factor: 0, chosen: null, hovered: -1, pinned: -1, playing: -1, path: [], moving: false };
  state.colours = () => palettes[state.factor];
  state.codes = () => codes[state.factor];
  root.classList.add("cdrl-explorer");
  const bar = element(root, "div", "cdrl-bar");
  const legend = element(root, "div", "cdrl-legend");
  const plane = element(root, "div", "cdrl-maps");
  const said = element(root, "p", "cdrl-said");
  const panel = element(root, "div", "cdrl-panel");
  const tip = element(root, "div", "cdrl-tip");
  tip.hidden = true;
  const say = (text) => (said.textContent = text);
  const name = (i) => factors.map((factor, f) => `${factor.name} ${factor.labels[codes[f][i]]}`).join(", ");
  const show = (image, i) =>
    source.face(i).then((url) => (image.src = url)).catch((error) => say(error.message));

  function hover(i, event) {
    if (i === state.hovered) return;
    state.hovered = i;
    views.forEach((each) => each.overlay());
    tip.hidden = i < 0;
    if (i < 0) return;
    const box = root.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 150)}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
    tip.replaceChildren();
    const image = element(tip, "img");
    element(tip, "span", "", name(i));
    setTimeout(() => state.hovered === i && show(image, i), 30); // a pointer that only passes asks for nothing
  }

  function click(i) {
    if (i < 0) return choose(null);
    state.pinned = i;
    state.playing = -1;
    state.path = [];
    for (let k = 0; k < n; k++) if (clip[k] === clip[i]) state.path.push(k);
    state.path.sort((a, b) => seconds[a] - seconds[b]);
    views.forEach((each) => each.overlay());
    panel.replaceChildren();
    const now = element(panel, "div", "cdrl-now");
    const face = element(now, "img", "cdrl-face");
    show(face, i);
    const film = element(now, "video");
    Object.assign(film, { controls: true, loop: true, playsInline: true });
    element(now, "p", "", `${name(i)}, at ${seconds[i].toFixed(2)} s`);
    film.addEventListener("error", () => say("This browser cannot play the clip (H.264); maps and faces still work."));
    film.addEventListener("timeupdate", () => {
      const time = film.currentTime;
      state.playing = state.path.reduce((a, b) => (Math.abs(seconds[b] - time) < Math.abs(seconds[a] - time) ? b : a));
      views.forEach((each) => each.overlay());
    });
    const strips = element(panel, "div", "cdrl-strips");
    maps.forEach((map, m) => {
      element(strips, "h4", "", map.strip);
      const strip = element(strips, "div", "cdrl-strip");
      for (let k = 0; k < map.near; k++) {
        const other = nearest[m][i * map.near + k];
        if (other < 0) continue;
        const button = element(strip, "button");
        show(element(button, "img"), other);
        element(button, "span", "", map.groups[k]);
        element(button, "small", "", likeness[m][i * map.near + k].toFixed(2));
        button.title = name(other);
        button.addEventListener("click", () => click(other));
      }
    });
    // Last, so that a busy kernel sends the small faces first.
    source.clip(clip[i]).then(({ url, sound }) => {
      if (state.pinned !== i) return;
      film.src = url;
      say(sound ? "" : "This clip has no sound.");
      film.play().catch((error) => error.name === "NotAllowedError" && say("Press play to hear the clip."));
    }).catch((error) => say(error.message));
  }

  function choose(found) {
    const count = found ? found.reduce((sum, each) => sum + each, 0) : 0;
    state.chosen = count ? found : null;
    views.forEach((each) => (each.paint(), each.overlay()));
    say(count ? `${count} of ${n} frames are selected in both maps; click beside the points to let go.` : "");
    selected(count ? Array.from(found.keys()).filter((i) => found[i]) : []);
  }

  function colour(f) {
    state.factor = f;
    [...bar.querySelectorAll(".cdrl-factor")].forEach((button, k) => button.setAttribute("aria-pressed", k === f));
    legend.replaceChildren();
    factors[f].labels.forEach((label, code) => {
      const entry = element(legend, "button");
      element(entry, "i").style.background = factors[f].colours[code];
      element(entry, "span", "", label);
      entry.addEventListener("click", () => choose(Uint8Array.from(codes[f], (each) => each === code)));
    });
    views.forEach((each) => each.paint());
  }

  const on = { hover, click, select: choose }, views = [];
  element(bar, "span", "", "colour");
  factors.forEach((factor, f) => element(bar, "button", "cdrl-factor", factor.name).addEventListener("click", () => colour(f)));
  const mode = element(bar, "button", "cdrl-mode", "drag: lasso");
  mode.addEventListener("click", () => {
    state.moving = !state.moving;
    mode.textContent = state.moving ? "drag: move" : "drag: lasso";
  });
  element(bar, "button", "", "whole maps").addEventListener("click", () => views.forEach((each) => each.reset()));
  maps.forEach((map, m) => views.push(scatter(plane, map.title, map.note, points[m], state, on)));
  element(panel, "p", "", "Point at a frame to see its face; click it to hear its clip. Wheel: zoom. Shift and drag: move.");
  colour(0);
  return { views, click, stop: () => views.forEach((each) => each.stop()) };
}

// The notebook's side: faces and clips are asked of the kernel when they are needed, and kept.
function kernel(model) {
  const waiting = new Map(), kept = new Map();
  const answer = ({ key, sound, kind, fault }, buffers) => {
    const asked = waiting.get(key);
    if (!asked) return;
    waiting.delete(key);
    if (fault) return asked.reject(new Error(fault));
    const url = URL.createObjectURL(new Blob([buffers[0]], { type: kind }));
    asked.resolve(key.startsWith("clip") ? { url, sound } : url);
  };
  model.on("msg:custom", answer);
  const ask = (what, which) => {
    const key = `${what} ${which}`;
    if (!kept.has(key))
      kept.set(key, new Promise((resolve, reject) => {
        waiting.set(key, { resolve, reject });
        model.send({ key, what, which });
        setTimeout(() => {
          if (waiting.delete(key)) kept.delete(key);
          reject(new Error("The kernel does not answer: run the cell again. The maps still work."));
        }, PATIENCE);
      }));
    return kept.get(key);
  };
  return {
    face: (i) => ask("face", i),
    clip: (c) => ask("clip", c),
    stop: () => model.off("msg:custom", answer),
  };
}

function render({ model, el }) {
  const bytes = model.get("arrays"), source = kernel(model);
  const made = explorer(el, model.get("header"), new Uint8Array(bytes.buffer || bytes, bytes.byteOffset || 0, bytes.byteLength),
    source, (list) => {
      model.set("selected", list);
      model.save_changes();
    });
  el.cdrl = made;
  return () => {
    source.stop();
    made.stop();
  };
}

export default { render };
