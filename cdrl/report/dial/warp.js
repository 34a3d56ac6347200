// The generator's last step, in the browser: fields of any intensity from low-rank fields, applied to a frame.
// The same as `fields_at` of low_rank.py and `apply_fields` of cdrl/models/field_network.py; tests compare the pixels.

const SMOOTHING = [1, 4, 6, 4, 1]; // weights over neighbouring frames

// Numbers in the fields of one frame: flow x, flow y and shading, residual, on `fine` and `coarse` cells a side.
const fieldLength = ({ fine, coarse }) => 3 * fine * fine + coarse * coarse;

// Low-rank fields of R components:
// {components: Int8Array (R x length), weights: Int16Array (K x T x R), scale: Float32Array (R)}.
function unpackFields(bytes, { knots, frames, rank, fine, coarse }) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const scale = new Float32Array(buffer, 0, rank);
  const weights = new Int16Array(buffer, scale.byteLength, knots.length * frames * rank);
  const offset = scale.byteLength + weights.byteLength;
  const components = new Int8Array(buffer, offset, rank * fieldLength({ fine, coarse }));
  return { knots, frames, rank, fine, coarse, scale, weights, components };
}

// Fields of one frame under a curve of intensities, one a frame; zeros where the frame's own is 0.
function fieldsAt(lowRank, curve, frame) {
  const { knots, frames, rank, weights, scale, components } = lowRank;
  const length = fieldLength(lowRank), fields = new Float32Array(length);
  if (!curve[frame]) return fields;
  const mixed = new Float32Array(rank), last = knots.length - 1;
  SMOOTHING.forEach((weight, step) => {
    const t = Math.min(frames - 1, Math.max(0, frame + step - 2));
    const intensity = Math.min(knots[last], Math.max(knots[0], curve[t]));
    let k = 0;
    while (k < last - 1 && intensity >= knots[k + 1]) k++;
    const share = (intensity - knots[k]) / (knots[k + 1] - knots[k]);
    const factor = (weight / 16) * Math.min(1, curve[t] / knots[0]);
    const below = (k * frames + t) * rank, above = ((k + 1) * frames + t) * rank;
    for (let r = 0; r < rank; r++) mixed[r] += factor * (weights[below + r] * (1 - share) + weights[above + r] * share);
  });
  for (let r = 0; r < rank; r++) {
    const weight = mixed[r] * scale[r], first = r * length;
    for (let c = 0; c < length; c++) fields[c] += weight * components[first + c];
  }
  return fields;
}

// For each pixel along one axis, the two cells of a field that it lies between and the share of the second.
function cellsOfPixels(cells, side) {
  const low = new Int32Array(side), high = new Int32Array(side), share = new Float32Array(side);
  for (let j = 0; j < side; j++) {
    const position = Math.max(0, ((j + 0.5) * cells) / side - 0.5);
    low[j] = Math.min(cells - 1, Math.floor(position));
    high[j] = Math.min(cells - 1, low[j] + 1);
    share[j] = position - low[j];
  }
  return { low, high, share };
}

// A function that writes the edit of `source` (RGBA, side x side) into `out` and returns the mean change of its colours.
function warper(side, { fine: FINE, coarse: COARSE }) {
  const fine = cellsOfPixels(FINE, side), coarse = cellsOfPixels(COARSE, side), last = side - 1;
  const flowY = FINE * FINE, shading = 2 * flowY, residual = shading + COARSE * COARSE; // where each field begins
  return (source, fields, out) => {
    let change = 0;
    for (let y = 0, pixel = 0; y < side; y++) {
      const up = fine.low[y] * FINE, down = fine.high[y] * FINE, v = fine.share[y];
      const up2 = coarse.low[y] * COARSE, down2 = coarse.high[y] * COARSE, v2 = coarse.share[y];
      for (let x = 0; x < side; x++, pixel += 4) {
        const left = fine.low[x], right = fine.high[x], u = fine.share[x];
        const a = (1 - v) * (1 - u), b = (1 - v) * u, c = v * (1 - u), d = v * u;
        const mix = (base) =>
          a * fields[base + up + left] + b * fields[base + up + right] + c * fields[base + down + left] + d * fields[base + down + right];
        const left2 = coarse.low[x], right2 = coarse.high[x], u2 = coarse.share[x];
        const shade = Math.exp(
          (1 - v2) * ((1 - u2) * fields[shading + up2 + left2] + u2 * fields[shading + up2 + right2]) +
            v2 * ((1 - u2) * fields[shading + down2 + left2] + u2 * fields[shading + down2 + right2]),
        );
        const added = 255 * mix(residual);
        const px = Math.min(last, Math.max(0, x + (mix(0) * side) / 2)), py = Math.min(last, Math.max(0, y + (mix(flowY) * side) / 2));
        const x0 = Math.floor(px), y0 = Math.floor(py), fx = px - x0, fy = py - y0;
        const corner = 4 * (y0 * side + x0), along = x0 < last ? 4 : 0, below = y0 < last ? 4 * side : 0;
        for (let k = 0; k < 3; k++) {
          const p = corner + k;
          const moved =
            (1 - fy) * ((1 - fx) * source[p] + fx * source[p + along]) + fy * ((1 - fx) * source[p + below] + fx * source[p + below + along]);
          out[pixel + k] = moved * shade + added; // a Uint8ClampedArray rounds and clips
          change += Math.abs(out[pixel + k] - source[pixel + k]);
        }
        out[pixel + 3] = 255;
      }
    }
    return change / (3 * side * side);
  };
}
