// The rules of colour, those of xai_core/colours.py, and what is drawn from a map's values. Tests compare both sides.

const FLOOR = 1e-2 // CLIP_FLOOR
const NEGATIVE = 1e-3 // SIGNED_FRACTION
const GREY = 128 // NEUTRAL

export function percentile(sorted, q) {
  const at = (sorted.length - 1) * (q / 100)
  const below = Math.floor(at), part = at - below
  const a = sorted[below], b = sorted[Math.min(below + 1, sorted.length - 1)]
  return part >= 0.5 ? b - (b - a) * (1 - part) : a + (b - a) * part
}

const sorted = new WeakMap() // values → their sizes: looking at a map otherwise needs them again

function sizesOf({ values }) {
  if (!sorted.has(values)) sorted.set(values, Float64Array.from(values, Math.abs).sort())
  return sorted.get(values)
}

export function scaleOf(maps, clip) {
  const shown = maps.filter(map => !map.flat)
  if (!shown.length) return null
  let sizes = sizesOf(shown[0]), lowest = Infinity
  if (shown.length > 1) {
    sizes = new Float64Array(shown.reduce((n, map) => n + map.values.length, 0))
    let at = 0
    for (const map of shown) sizes.set(sizesOf(map), (at += map.values.length) - map.values.length)
    sizes.sort()
  }
  for (const map of shown) for (const value of map.values) if (value < lowest) lowest = value
  const largest = sizes[sizes.length - 1]
  const bound = Math.max(percentile(sizes, clip), FLOOR * largest)
  return { low: lowest < -NEGATIVE * largest ? -bound : 0, high: bound, largest }
}

export function coloursOn(scale, name, { colours, twoSigned }) {
  const all = colours.get(name)
  if (scale.low < 0 || !twoSigned.includes(name)) return all
  const half = new Uint8Array(768)
  for (let i = 0; i < 256; i++) {
    const from = Math.round(128 + 127 * i / 255) * 3
    half.set(all.subarray(from, from + 3), i * 3)
  }
  return half
}

export function colour(values, scale, colours) {
  const drawn = new Uint8Array(3 * values.length).fill(GREY)
  if (!colours) return drawn
  for (let i = 0; i < values.length; i++) {
    const part = Math.min(1, Math.max(0, (values[i] - scale.low) / (scale.high - scale.low)))
    const at = Math.round(part * 255) * 3
    drawn[3 * i] = colours[at]; drawn[3 * i + 1] = colours[at + 1]; drawn[3 * i + 2] = colours[at + 2]
  }
  return drawn
}

function paint(canvas, rgb) {
  const context = canvas.getContext('2d')
  const image = context.createImageData(canvas.width, canvas.height)
  const to = image.data
  for (let i = 0, n = rgb.length / 3; i < n; i++) {
    to[4 * i] = rgb[3 * i]; to[4 * i + 1] = rgb[3 * i + 1]; to[4 * i + 2] = rgb[3 * i + 2]; to[4 * i + 3] = 255
  }
  context.putImageData(image, 0, 0)
}

// ---- the highest pixels, and the cells that a map resolves -----------------------------------------------------------

const risen = new WeakMap() // values → the same, sorted

// The pixels as high as that share of all, by the rule of xai_core/agreement.py: of many that are equal, only those above.
export function highest(values, share) {
  if (!risen.has(values)) risen.set(values, Float32Array.from(values).sort())
  const rising = risen.get(values), wanted = share * values.length
  const even = wanted % 1 === 0.5 && Math.floor(wanted) % 2 === 0 // a half is rounded to the even number, as in Python
  const count = Math.max(1, even ? Math.floor(wanted) : Math.round(wanted))
  const least = rising[rising.length - count]
  const crowded = values.reduce((n, value) => n + (value >= least), 0) > 2 * count
  const above = crowded && rising[rising.length - 1] > least
  return Uint8Array.from(values, value => above ? value > least : value >= least)
}

// The border of the pixels in `mask`, as an SVG path in pixels: every edge between one inside and one outside.
export function outline(mask, height, width) {
  const inside = (row, column) => row >= 0 && row < height && column >= 0 && column < width && mask[row * width + column] === 1
  const path = []
  const run = (lines, length, differs, drawn) => {
    for (let line = 0; line <= lines; line++) {
      for (let at = 0, start = -1; at <= length; at++) {
        const edge = at < length && differs(line, at)
        if (edge && start < 0) start = at
        if (!edge && start >= 0) { path.push(drawn(line, start, at)); start = -1 }
      }
    }
  }
  run(height, width, (row, at) => inside(row - 1, at) !== inside(row, at), (row, from, to) => `M${from} ${row}H${to}`)
  run(width, height, (column, at) => inside(at, column - 1) !== inside(at, column), (column, from, to) => `M${column} ${from}V${to}`)
  return path.join('')
}

// Every pixel gets the mean of its cell in a grid of rows × columns.
export function inCells(values, height, width, [rows, columns]) {
  const cell = i => Math.floor(Math.floor(i / width) * rows / height) * columns + Math.floor((i % width) * columns / width)
  const sums = new Float64Array(rows * columns), counts = new Uint32Array(rows * columns)
  values.forEach((value, i) => { sums[cell(i)] += value; counts[cell(i)] += 1 })
  return values.map((_, i) => sums[cell(i)] / counts[cell(i)])
}
