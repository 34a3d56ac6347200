// The explorer: two maps of the same frames, the clicked frame's face and clip, and its neighbours.
// `render({model, el})` is what anywidget calls; a page of its own calls `explorer(el, header, bytes, source)`.

const PATIENCE = 30000; // milliseconds to wait for the kernel
const HOVER_DELAY = 30; // milliseconds before a face is requested, so that a passing pointer requests none

// The arrays of `cdrl.report.explorer.payload`, in its order, for n points and G groups of neighbours a map.
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
  const nearest = maps.map((map) => take(Int32Array, n * map.num_groups));
  const similarity = maps.map((map) => take(Float32Array, n * map.num_groups));
  const clip = take(Int32Array, n);
  const seconds = take(Float32Array, n);
  const codes = factors.map(() => take(Uint16Array, n));
  return { points, nearest, similarity, clip, seconds, codes };
}

// source.face(i) promises the address of a picture, source.clip(c) promises {url, sound} of a film.
function explorer(root, header, bytes, source, onSelection = () => {}) {
  const { points, nearest, similarity, clip, seconds, codes } = unpack(header, bytes);
  const { n, maps, factors } = header;
  const palettes = factors.map((factor) => factor.colours.map(rgb));
  const state = { factor: 0, selection: null, hovered: -1, pinned: -1, playing: -1, path: [], panning: false };
  state.colours = () => palettes[state.factor];
  state.codes = () => codes[state.factor];
  root.classList.add("cdrl-explorer");
  const bar = element(root, "div", "cdrl-bar");
  const legend = element(root, "div", "cdrl-legend");
  const plane = element(root, "div", "cdrl-maps");
  const status = element(root, "p", "cdrl-status");
  const panel = element(root, "div", "cdrl-panel");
  const tip = element(root, "div", "cdrl-tip");
  tip.hidden = true;
  const spoken = element(root, "p", "cdrl-spoken"); // for screen readers: the frame that a key went to
  const setRole = (node, role, label) => {
    node.setAttribute("role", role);
    if (label) node.setAttribute("aria-label", label);
  };
  setRole(root, "region", "two linked maps of the same frames");
  setRole(bar, "group", "colour and view of the maps");
  setRole(legend, "group", "labels: a button selects all frames of one");
  setRole(status, "status");
  setRole(spoken, "status");
  setRole(panel, "region", "the chosen frame, its clip and its nearest frames");
  tip.setAttribute("aria-hidden", "true");
  const showStatus = (text) => (status.textContent = text);
  const showError = (error) => showStatus(error.message);
  const labelsOf = (i) => factors.map((factor, f) => `${factor.name} ${factor.labels[codes[f][i]]}`).join(", ");
  const showFace = (image, i) => source.face(i).then((url) => (image.src = url)).catch(showError);
  const drawOverlays = () => views.forEach((view) => view.overlay());
  const paintAll = () => views.forEach((view) => view.paint());

  function hover(i, event) {
    if (i === state.hovered) return;
    state.hovered = i;
    drawOverlays();
    tip.hidden = i < 0;
    if (i < 0) return;
    const box = root.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 150)}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
    tip.replaceChildren();
    if (event.byKey) spoken.textContent = labelsOf(i);
    const image = element(tip, "img");
    element(tip, "span", "", labelsOf(i));
    setTimeout(() => state.hovered === i && showFace(image, i), HOVER_DELAY);
  }

  function click(i) {
    if (i < 0) return select(null);
    state.pinned = i;
    state.playing = -1;
    state.path = [];
    for (let k = 0; k < n; k++) if (clip[k] === clip[i]) state.path.push(k);
    state.path.sort((a, b) => seconds[a] - seconds[b]);
    drawOverlays();
    panel.replaceChildren();
    const current = element(panel, "div", "cdrl-current");
    const face = element(current, "img", "cdrl-face");
    face.alt = labelsOf(i);
    showFace(face, i);
    const film = element(current, "video");
    Object.assign(film, { controls: true, loop: true, playsInline: true });
    film.setAttribute("aria-label", `the clip: ${labelsOf(i)}`);
    element(current, "p", "", `${labelsOf(i)}, at ${seconds[i].toFixed(2)} s`);
    film.addEventListener("error", () => showStatus("This browser cannot play the clip (H.264); maps and faces still work."));
    film.addEventListener("timeupdate", () => {
      const distance = (k) => Math.abs(seconds[k] - film.currentTime);
      state.playing = state.path.reduce((a, b) => (distance(b) < distance(a) ? b : a));
      drawOverlays();
    });
    showNeighbours(i);
    playFilm(film, i); // last, so that a busy kernel sends the small faces first
  }

  function showNeighbours(i) {
    const strips = element(panel, "div", "cdrl-strips");
    maps.forEach((map, m) => {
      element(strips, "h4", "", map.strip);
      const strip = element(strips, "div", "cdrl-strip");
      setRole(strip, "group", map.strip);
      for (let k = 0; k < map.num_groups; k++) {
        const neighbour = nearest[m][i * map.num_groups + k];
        if (neighbour < 0) continue;
        const button = element(strip, "button"), image = element(button, "img");
        image.alt = "";
        showFace(image, neighbour);
        element(button, "span", "", map.groups[k]);
        element(button, "small", "", similarity[m][i * map.num_groups + k].toFixed(2));
        button.title = labelsOf(neighbour);
        button.setAttribute("aria-label", `${map.groups[k]}: ${labelsOf(neighbour)}`);
        button.addEventListener("click", () => click(neighbour));
      }
    });
  }

  async function playFilm(film, i) {
    try {
      const { url, sound } = await source.clip(clip[i]);
      if (state.pinned !== i) return;
      film.src = url;
      showStatus(sound ? "" : "This clip has no sound.");
      film.play().catch((error) => error.name === "NotAllowedError" && showStatus("Press play to hear the clip."));
    } catch (error) {
      showError(error);
    }
  }

  // `mask` has a 1 for every selected frame; null selects nothing.
  function select(mask) {
    const count = mask ? mask.reduce((sum, value) => sum + value, 0) : 0;
    state.selection = count ? mask : null;
    paintAll();
    drawOverlays();
    showStatus(count ? `${count} of ${n} frames are selected in both maps; click beside the points to let go.` : "");
    onSelection(count ? Array.from(mask.keys()).filter((i) => mask[i]) : []);
  }

  function colourBy(f) {
    state.factor = f;
    [...bar.querySelectorAll(".cdrl-factor")].forEach((button, k) => button.setAttribute("aria-pressed", k === f));
    legend.replaceChildren();
    factors[f].labels.forEach((label, code) => {
      const entry = element(legend, "button");
      element(entry, "i").style.background = factors[f].colours[code];
      element(entry, "span", "", label);
      entry.addEventListener("click", () => select(Uint8Array.from(codes[f], (value) => value === code)));
    });
    paintAll();
  }

  const handlers = { hover, click, select };
  const views = [];
  element(bar, "span", "", "colour");
  factors.forEach((factor, f) => {
    const button = element(bar, "button", "cdrl-factor", factor.name);
    button.addEventListener("click", () => colourBy(f));
  });
  const mode = element(bar, "button", "cdrl-mode", "drag: lasso");
  mode.addEventListener("click", () => {
    state.panning = !state.panning;
    mode.textContent = state.panning ? "drag: move" : "drag: lasso";
  });
  element(bar, "button", "", "whole maps").addEventListener("click", () => views.forEach((view) => view.reset()));
  maps.forEach((map, m) => views.push(scatter(plane, map.title, map.note, points[m], state, handlers)));
  element(panel, "p", "", "Point at a frame to see its face; click it to hear its clip. Wheel: zoom. Shift and drag: move.");
  element(panel, "p", "cdrl-keys", KEYS);
  colourBy(0);
  return { views, click, stop: () => views.forEach((view) => view.stop()) };
}

// The notebook's side: faces and clips are requested from the kernel when they are needed, and kept.
function kernel(model) {
  const pending = new Map(), cache = new Map();
  const onMessage = ({ key, sound, kind, fault }, buffers) => {
    const request = pending.get(key);
    if (!request) return;
    pending.delete(key);
    if (fault) return request.reject(new Error(fault));
    const url = URL.createObjectURL(new Blob([buffers[0]], { type: kind }));
    request.resolve(key.startsWith("clip") ? { url, sound } : url);
  };
  model.on("msg:custom", onMessage);
  const fetchOnce = (what, which) => {
    const key = `${what} ${which}`;
    if (!cache.has(key))
      cache.set(key, new Promise((resolve, reject) => {
        pending.set(key, { resolve, reject });
        model.send({ key, what, which });
        setTimeout(() => {
          if (pending.delete(key)) cache.delete(key);
          reject(new Error("The kernel does not answer: run the cell again. The maps still work."));
        }, PATIENCE);
      }));
    return cache.get(key);
  };
  return {
    face: (i) => fetchOnce("face", i),
    clip: (c) => fetchOnce("clip", c),
    stop: () => model.off("msg:custom", onMessage),
  };
}

function render({ model, el }) {
  const view = model.get("arrays"), source = kernel(model);
  const bytes = new Uint8Array(view.buffer || view, view.byteOffset || 0, view.byteLength);
  const instance = explorer(el, model.get("header"), bytes, source, (positions) => {
    model.set("selected", positions);
    model.save_changes();
  });
  el.cdrl = instance;
  return () => {
    source.stop();
    instance.stop();
  };
}

export default { render };
