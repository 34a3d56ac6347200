// The generator's last step, in the browser: fields of any intensity out of a bank, applied to a frame.
// The same as `fields_at` of bank.py and `apply_fields` of cdrl/models/generator.py; tests compare the pixels.

const SMOOTHING = [1, 4, 6, 4, 1]; // weights over neighbouring frames

// Numbers in the fields of one frame: flow x, flow y and shading, residual, on `fine` and `coarse` cells a side.
const lengthOf = ({ fine, coarse }) => 3 * fine * fine + coarse * coarse;

// A bank of R components: {components: Int8Array (R x length), weights: Int16Array (K x T x R), scale: Float32Array (R)}.
function unpackBank(bytes, { knots, frames, rank, fine, coarse }) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const weights = new Int16Array(buffer, 4 * rank, knots.length * frames * rank);
  return {
    knots, frames, rank, fine, coarse, weights, scale: new Float32Array(buffer, 0, rank),
    components: new Int8Array(buffer, 4 * rank + weights.byteLength, rank * lengthOf({ fine, coarse })),
  };
}

// Fields of one frame under a curve of intensities, one for each frame; nothing where its own is 0.
function fieldsAt(bank, curve, frame) {
  const { knots, frames, rank, weights, scale, components } = bank, length = lengthOf(bank), out = new Float32Array(length);
  if (!curve[frame]) return out;
  const shares = new Float32Array(rank), last = knots.length - 1;
  SMOOTHING.forEach((weight, step) => {
    const t = Math.min(frames - 1, Math.max(0, frame + step - 2)), value = Math.min(knots[last], Math.max(knots[0], curve[t]));
    let k = 0;
    while (k < last - 1 && value >= knots[k + 1]) k++;
    const part = (value - knots[k]) / (knots[k + 1] - knots[k]), given = (weight / 16) * Math.min(1, curve[t] / knots[0]);
    for (let r = 0; r < rank; r++)
      shares[r] += given * (weights[(k * frames + t) * rank + r] * (1 - part) + weights[((k + 1) * frames + t) * rank + r] * part);
  });
  for (let r = 0; r < rank; r++) {
    const share = shares[r] * scale[r];
    for (let c = 0, at = r * length; c < length; c++) out[c] += share * components[at + c];
  }
  return out;
}

// Where the pixels of a picture lie between the cells of a field, along one axis.
function between(cells, side) {
  const low = new Int32Array(side), high = new Int32Array(side), part = new Float32Array(side);
  for (let j = 0; j < side; j++) {
    const place = Math.max(0, ((j + 0.5) * cells) / side - 0.5);
    low[j] = Math.min(cells - 1, Math.floor(place));
    high[j] = Math.min(cells - 1, low[j] + 1);
    part[j] = place - low[j];
  }
  return { low, high, part };
}

// A function that writes the edit of `source` (RGBA, side x side) into `out` and returns the mean change of its colours.
function warper(side, { fine: FINE, coarse: COARSE }) {
  const fine = between(FINE, side), coarse = between(COARSE, side), most = side - 1;
  const vertical = FINE * FINE, shaded = 2 * vertical, painted = shaded + COARSE * COARSE; // where each field begins
  return (source, fields, out) => {
    let change = 0;
    for (let y = 0, at = 0; y < side; y++) {
      const up = fine.low[y] * FINE, down = fine.high[y] * FINE, v = fine.part[y];
      const up2 = coarse.low[y] * COARSE, down2 = coarse.high[y] * COARSE, v2 = coarse.part[y];
      for (let x = 0; x < side; x++, at += 4) {
        const left = fine.low[x], right = fine.high[x], u = fine.part[x];
        const a = (1 - v) * (1 - u), b = (1 - v) * u, c = v * (1 - u), d = v * u;
        const mix = (base) =>
          a * fields[base + up + left] + b * fields[base + up + right] + c * fields[base + down + left] + d * fields[base + down + right];
        const left2 = coarse.low[x], right2 = coarse.high[x], u2 = coarse.part[x];
        const shade = Math.exp(
          (1 - v2) * ((1 - u2) * fields[shaded + up2 + left2] + u2 * fields[shaded + up2 + right2]) +
            v2 * ((1 - u2) * fields[shaded + down2 + left2] + u2 * fields[shaded + down2 + right2]),
        );
        const added = 255 * mix(painted);
        const px = Math.min(most, Math.max(0, x + (mix(0) * side) / 2)), py = Math.min(most, Math.max(0, y + (mix(vertical) * side) / 2));
        const x0 = Math.floor(px), y0 = Math.floor(py), fx = px - x0, fy = py - y0;
        const row = 4 * (y0 * side + x0), along = x0 < most ? 4 : 0, below = y0 < most ? 4 * side : 0;
        for (let k = 0; k < 3; k++) {
          const p = row + k;
          const moved =
            (1 - fy) * ((1 - fx) * source[p] + fx * source[p + along]) + fy * ((1 - fx) * source[p + below] + fx * source[p + below + along]);
          out[at + k] = moved * shade + added; // a Uint8ClampedArray rounds and clips
          change += Math.abs(out[at + k] - source[at + k]);
        }
        out[at + 3] = 255;
      }
    }
    return change / (3 * side * side);
  };
}
