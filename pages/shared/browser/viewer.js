// The viewer. The rules of colour are those of xai_core/colours.py; a test compares them.
// Everything that comes from outside is set as text, never as markup.

const FLOOR = 1e-2 // CLIP_FLOOR
const NEGATIVE = 1e-3 // SIGNED_FRACTION
const GREY = 128 // NEUTRAL

// ---- the rules of colour -------------------------------------------------------------------------------------------

export function percentile(sorted, q) {
  const at = (sorted.length - 1) * (q / 100)
  const below = Math.floor(at), part = at - below
  const a = sorted[below], b = sorted[Math.min(below + 1, sorted.length - 1)]
  return part >= 0.5 ? b - (b - a) * (1 - part) : a + (b - a) * part
}

function sizesOf(map) { // sorted once: looking at a map otherwise needs them again
  return map.sizes ??= Float64Array.from(map.values, Math.abs).sort()
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

export function coloursOn(scale, name, scene) {
  const all = scene.palettes.get(name)
  if (scale.low < 0 || !scene.two_signed.includes(name)) return all
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

// ---- numbers as people read them -----------------------------------------------------------------------------------

function number(value) {
  if (value === 0) return '0'
  const size = Math.abs(value)
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
  return text.replaceAll('-', '−')
}

function raised(power) {
  return [...String(power)].map(mark => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(mark)]).join('')
}

function ticksOf(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough)
  const ticks = []
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9); k++) ticks.push(k * step)
  return ticks
}

// ---- what was sent -------------------------------------------------------------------------------------------------

export function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true)
  const scene = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)))
  let at = 4 + length
  const take = count => bytes.slice(at, (at += count))
  const pixels = scene.height * scene.width
  scene.picture = take(pixels * 3)
  for (const map of scene.maps) map.values = new Float32Array(take(pixels * 4).buffer)
  scene.palettes = new Map(scene.palettes.map(name => [name, take(768)]))
  return scene
}

// ---- small makers --------------------------------------------------------------------------------------------------

function make(tag, className, text, parent) {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  parent?.append(element)
  return element
}

function control(bar, label, input) {
  const box = make('label', 'control', undefined, bar)
  const said = make('span', '', label + ' ', box)
  const output = make('b', '', '', said)
  box.append(input)
  input.setAttribute('aria-label', label)
  return output
}

function slider(low, high, step) {
  const input = make('input')
  Object.assign(input, { type: 'range', min: low, max: high, step })
  return input
}

function fill(box, wanted) { // what stays is not moved, so that it keeps the focus
  for (const child of [...box.children]) if (!wanted.includes(child)) child.remove()
  wanted.forEach((child, i) => {
    if (box.children[i] !== child) box.insertBefore(child, box.children[i] ?? null)
  })
}

// ---- the viewer ----------------------------------------------------------------------------------------------------

const ASK_EVERY = 10_000 // milliseconds, while something is awaited
const MANY = 4 // more maps than this are laid out as a contact sheet, unless the visitor says otherwise
const PLAIN = { opacity: 0.5, colour_map: null, clip: 99.5, shared_scale: false }

class Viewer {
  constructor(root) {
    this.root = root
    this.looks = { ...PLAIN }
    this.sent = JSON.stringify(this.looks)
    this.given = -1
    this.forOnly = false
    this.mapShown = true
    this.sheet = null // the visitor's choice of layout
    this.drawn = []
    this.buildBar()
    this.rows = make('div', 'rows', undefined, root)
    this.apart = make('div', 'apart', undefined, root)
    make('h3', '', 'Controls: what a map must beat', this.apart)
    this.controls = make('div', 'rows', undefined, this.apart)
    this.listen()
  }

  buildBar() {
    const bar = make('div', 'bar', undefined, this.root)
    bar.setAttribute('role', 'group')
    bar.setAttribute('aria-label', 'How the maps are shown')
    this.opacity = slider(0, 100, 1)
    this.opacityText = control(bar, 'Opacity', this.opacity)
    this.colours = make('select')
    control(bar, 'Colour map', this.colours)
    this.clip = slider(90, 100, 0.1)
    this.clipText = control(bar, 'Saturate at percentile', this.clip)
    this.scale = make('select')
    for (const [value, text] of [['own', 'own for each map'], ['shared', 'one for all maps']])
      make('option', '', text, this.scale).value = value
    control(bar, 'Colour scale', this.scale)
    const second = make('div', 'second', undefined, bar)
    this.reading = make('div', 'reading soft', '', second)
    this.told = make('div', 'told', '', second) // to those who do not see: what the keys read, not where a mouse goes
    this.told.setAttribute('role', 'status')
    const buttons = make('div', 'buttons', undefined, second)
    const button = (text, key, act) => {
      const made = make('button', '', text, buttons)
      made.type = 'button'
      if (key) make('kbd', '', key, made)
      made.onclick = act
      return made
    }
    this.forButton = button('Speaks for only', '', () => { this.forOnly = !this.forOnly; this.draw() })
    this.forButton.title = 'Hides what speaks against the target, in this view only: figures and records show both.'
    this.mapButton = button('Map', 'H', () => this.toggleMap())
    this.sheetButton = button('Contact sheet', '', () => { this.sheet = !this.isSheet(); this.draw() })
    this.sheetButton.title = 'Small maps side by side. Click one to see it large.'
    button('Reset', 'Space', () => this.reset())
    const link = button('Copy link', '', async () => {
      const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false)
      link.textContent = copied ? 'Link copied' : 'It is in the address bar'
      setTimeout(() => { link.textContent = 'Copy link' }, 1500)
    })
    link.title = 'The question with all settings. The picture is not part of it, unless it is a sample.'

    // The page steps through pictures with the arrow keys: not while they move a slider.
    bar.addEventListener('keydown', event => { if (event.key.startsWith('Arrow')) event.stopPropagation() })
    this.opacity.oninput = () => this.change({ opacity: this.opacity.value / 100 })
    this.colours.onchange = () => this.change({ colour_map: this.colours.value || null })
    this.clip.oninput = () => this.change({ clip: Number(this.clip.value) })
    this.scale.onchange = () => this.change({ shared_scale: this.scale.value === 'shared' })
  }

  listen() {
    this.onKey = event => this.key(event)
    // The server hears of new looks when the visitor turns to something else: looking itself costs no message.
    this.root.addEventListener('pointerleave', () => { this.point(null); this.hand() })
    this.root.addEventListener('focusout', event => { if (!this.root.contains(event.relatedTarget)) this.hand() })
    this.onAway = () => this.hand()
  }

  // Streamlit may call `leave` and go on with the same element, so every `show` enters again; twice does no harm.
  enter() {
    document.addEventListener('keydown', this.onKey)
    document.addEventListener('visibilitychange', this.onAway)
  }

  leave() {
    this.wait(false)
    document.removeEventListener('keydown', this.onKey)
    document.removeEventListener('visibilitychange', this.onAway)
  }

  hand() {
    const now = JSON.stringify(this.looks)
    if (now === this.sent || !this.scene) return
    this.sent = now
    this.send(this.looks)
  }

  change(part) {
    Object.assign(this.looks, part)
    this.draw()
  }

  reset() {
    this.looks = { ...PLAIN }
    this.forOnly = false
    this.mapShown = true
    this.sheet = null
    for (const tile of this.root.querySelectorAll('.large')) tile.classList.remove('large')
    for (const one of this.drawn) one.row.classList.remove('open')
    this.draw()
  }

  toggleMap() {
    this.mapShown = !this.mapShown
    this.draw()
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.root.isConnected) return
    const from = event.composedPath()[0]
    const mine = this.root.contains(from)
    const typing = from.matches?.('input, textarea, select, [contenteditable], [role="slider"], [role="combobox"]')
    if (typing && !(mine && from.type === 'range')) return
    if (event.key === 'h' || event.key === 'H') this.toggleMap()
    else if (event.key === ' ' && mine && !from.matches?.('button, a, summary, [role="button"], [role="tab"]')) this.reset()
    else return
    event.preventDefault()
  }

  // -- new data --

  // While something is awaited, ask for it now and then: the page's own timer may be lost. This is an animation, since
  // that is no timer.
  wait(awaited, ask) {
    if (this.pulse) this.pulse.onfinish = null
    this.pulse = null
    if (!awaited) return
    this.pulse = this.root.animate([], ASK_EVERY)
    this.pulse.onfinish = () => { this.wait(awaited, ask); ask() }
  }

  show(scene, send, ask) {
    this.send = send
    this.wait(scene.awaited, ask)
    if (scene.given !== this.given) {
      this.given = scene.given
      this.looks = { ...PLAIN, ...scene.looks }
      this.sent = JSON.stringify(this.looks)
    }
    if (this.scene?.id !== scene.id) {
      this.scene = scene
      this.buildRows()
    }
    this.draw()
  }

  buildRows() {
    const scene = this.scene
    this.colours.replaceChildren()
    make('option', '', 'automatic', this.colours).value = ''
    for (const name of scene.palettes.keys()) make('option', '', name, this.colours).value = name
    const known = new Map(this.drawn.map(one => [one.map.id, one]))
    const byId = new Map(scene.maps.map(map => [map.id, map]))
    this.drawn = []
    const methods = [], controls = []
    for (const place of scene.order) {
      const wanted = place.control ? controls : methods
      if (place.waiting) wanted.push(this.buildWaiting(place.waiting))
      else {
        const map = byId.get(place.id), one = known.get(place.id) ?? this.buildRow(map)
        this.judge(one, map)
        this.drawn.push(one)
        wanted.push(one.row)
      }
    }
    fill(this.rows, methods)
    fill(this.controls, controls)
    this.apart.hidden = !controls.length
  }

  isSheet() {
    return this.sheet ?? this.scene.order.length > MANY
  }

  buildWaiting(label) {
    const box = make('div', 'waiting')
    make('div', 'blank', '', box).style.aspectRatio = `${this.scene.width} / ${this.scene.height}`
    make('span', '', label, box)
    make('span', 'soft', 'not there yet', box)
    return box
  }

  buildRow(map) {
    const row = make('section', 'row'), one = { map, row }
    row.setAttribute('aria-label', map.label)
    row.classList.toggle('invalid', Boolean(map.invalid))
    const head = make('div', 'head', undefined, row)
    const name = make('h3', '', '', head)
    one.mark = make('span', map.mark === '✗' ? 'mark bad' : 'mark', map.mark, name)
    name.append(map.label)
    const about = make('span', 'about soft', 'for ', head)
    make('strong', '', map.target, about)
    about.append(' · ' + map.model)
    one.small = make('span', 'small soft', '', head)
    if (map.notice) make('span', 'notice', map.notice, head)
    one.value = make('span', 'value', '', head)
    one.open = make('button', 'open-close', '', head)
    one.open.type = 'button'
    one.judged = make('div', 'judged', undefined, row)
    one.tiles = make('div', 'tiles', undefined, row)
    one.over = this.canvas()
    one.both = this.tile(one, 'Overlay', 'Overlay on the picture. ' + map.spoken, [this.pictureCanvas(), one.over])
    one.both.tile.classList.add('both')
    one.open.onclick = () => this.open(one)
    if (map.invalid) make('p', 'flat', map.invalid, row)
    if (map.flat) {
      make('span', 'flatsign', 'flat', one.both.frame)
      make('p', 'flat', map.flat + ' It is drawn in one grey and must not be read as evidence.', row)
    }
    make('p', 'facts soft', map.facts.join(' · '), row)
    if (map.settings) make('p', 'noted soft', 'Settings: ' + map.settings, row)
    for (const note of map.notes) make('p', 'noted', 'Note: ' + note, row)
    this.judge(one, map)
    return one
  }

  // How far a map can be believed: known only after it is shown.
  judge(one, map) {
    const { verdict, colour, why, checks, pending } = map.judged
    const said = JSON.stringify(map.judged)
    if (one.said === said) return
    one.said = said
    one.map.spoken = map.spoken
    for (const tile of [one.both, one.bare]) tile?.frame.setAttribute('aria-label', one.map.spoken)
    one.mark.hidden = Boolean(verdict)
    one.small.textContent = verdict || pending ? map.family : map.standing || map.family
    one.row.classList.toggle('baseless', Boolean(why))
    one.judged.replaceChildren()
    if (pending) make('span', 'soft', '… being weighed', one.judged)
    if (!verdict) return
    const all = make('details', '', undefined, one.judged)
    const head = make('summary', colour, verdict, all)
    head.title = 'How far this map can be believed, and why'
    head.onclick = event => { // there is no room in a small map
      if (!one.row.classList.contains('compact')) return
      event.preventDefault()
      this.open(one)
      all.open = true
    }
    const list = make('ul', 'checks', undefined, all)
    for (const [sign, sentence] of checks) {
      const line = make('li', '', undefined, list)
      make('span', sign === '✗' ? 'mark bad' : 'mark', sign, line)
      line.append(sentence)
    }
    if (why && why !== map.flat && why !== map.invalid) make('p', 'flat why', why, one.judged)
  }

  // What a small map does without: the picture and the map alone, with its scale.
  complete(one) {
    if (one.heat) return
    const { map } = one
    one.heat = this.canvas()
    this.tile(one, 'What the model saw', `What ${map.model} saw`, [this.pictureCanvas()])
    const bare = one.bare = this.tile(one, 'Attribution map', map.spoken, [one.heat])
    one.tiles.append(one.both.tile)
    bare.tile.classList.add('bare')
    one.bar = make('div', 'scale', undefined, bare.pane)
    one.ends = make('div', 'ends soft', undefined, bare.caption)
    if (map.flat) make('span', 'flatsign', 'flat', bare.frame)
    one.key = ''
  }

  open(one) {
    one.row.classList.toggle('open')
    this.draw()
    one.row.scrollIntoView({ block: 'nearest' })
  }

  canvas() {
    return Object.assign(make('canvas'), { width: this.scene.width, height: this.scene.height })
  }

  pictureCanvas() {
    const canvas = this.canvas()
    canvas.className = 'picture'
    paint(canvas, this.scene.picture)
    return canvas
  }

  tile(one, caption, spoken, canvases) {
    const { width, height } = this.scene, { map } = one
    const tile = make('figure', 'tile', undefined, one.tiles)
    const enlarge = () => one.row.classList.contains('compact') ? this.open(one) : tile.classList.toggle('large')
    const pane = make('div', 'pane', undefined, tile)
    const frame = make('div', 'frame', undefined, pane)
    frame.style.aspectRatio = `${width} / ${height}`
    frame.tabIndex = 0
    frame.setAttribute('role', 'img')
    frame.setAttribute('aria-label', spoken)
    frame.append(...canvases)
    make('div', 'across', undefined, frame)
    make('div', 'down', undefined, frame)
    frame.onpointermove = event => {
      const box = frame.getBoundingClientRect()
      this.point([
        Math.floor((event.clientY - box.top) / box.height * height),
        Math.floor((event.clientX - box.left) / box.width * width)], one)
    }
    frame.onclick = enlarge
    frame.onkeydown = event => {
      const step = event.shiftKey ? 10 : 1
      const [row, column] = this.pointed ?? map.peak
      const to = {
        ArrowUp: [row - step, column], ArrowDown: [row + step, column], ArrowLeft: [row, column - step],
        ArrowRight: [row, column + step], Home: map.peak }[event.key]
      if (to) {
        this.point(to, one)
        this.told.textContent = this.inWords(map)
      } else if (event.key === 'Enter') enlarge()
      else return
      event.preventDefault()
      event.stopPropagation()
    }
    const text = make('figcaption', '', caption, tile)
    return { tile, pane, frame, caption: text }
  }

  // -- the pointer --

  point(place, pointed) {
    const { width, height, picture } = this.scene
    const within = (at, size) => Math.min(size - 1, Math.max(0, at))
    this.pointed = place && [within(place[0], height), within(place[1], width)]
    this.root.classList.toggle('pointing', Boolean(place))
    for (const one of this.drawn) one.value.textContent = ''
    if (!place) {
      this.reading.textContent = 'Point at a map, or press Tab and the arrow keys, to read its values. Click to enlarge.'
      return
    }
    const [row, column] = this.pointed, at = row * width + column
    for (const line of this.root.querySelectorAll('.across')) line.style.top = `${(row + 0.5) / height * 100}%`
    for (const line of this.root.querySelectorAll('.down')) line.style.left = `${(column + 0.5) / width * 100}%`
    const said = [`row ${row}, column ${column}`, `RGB ${[...picture.subarray(3 * at, 3 * at + 3)].join(', ')}`]
    for (const one of this.drawn) {
      one.value.textContent = number(one.map.values[at])
      if (one === pointed || this.drawn.length <= MANY) said.push(`${one.map.label} ${number(one.map.values[at])}`)
    }
    this.reading.textContent = said.join('  ·  ')
  }

  inWords(map) {
    const [row, column] = this.pointed
    return `${map.label} ${number(map.values[row * this.scene.width + column])} at row ${row}, column ${column}`
  }

  // -- drawing --

  draw() {
    const { looks, scene } = this
    const dark = getComputedStyle(this.root).getPropertyValue('--st-background-color').trim()
    this.root.classList.toggle('dark', isDark(dark))
    this.opacity.value = Math.round(looks.opacity * 100)
    this.opacityText.textContent = `${Math.round(looks.opacity * 100)} %`
    this.clip.min = Math.min(90, looks.clip)
    this.clip.value = looks.clip
    this.clipText.textContent = String(looks.clip)
    this.colours.value = looks.colour_map ?? ''
    this.scale.value = looks.shared_scale ? 'shared' : 'own'
    this.forButton.setAttribute('aria-pressed', String(this.forOnly))
    this.mapButton.setAttribute('aria-pressed', String(this.mapShown))
    const sheet = this.isSheet()
    this.sheetButton.setAttribute('aria-pressed', String(sheet))
    this.root.classList.toggle('sheet', sheet)
    for (const one of this.drawn) {
      const opened = one.row.classList.contains('open')
      one.row.classList.toggle('compact', sheet && !opened)
      one.open.textContent = opened ? 'Close' : '⤢'
      one.open.setAttribute('aria-label', `${opened ? 'Close' : 'Enlarge'} ${one.map.label}`)
      if (!sheet || opened) this.complete(one)
    }

    const key = JSON.stringify([scene.id, this.forOnly, looks.clip, looks.shared_scale])
    if (key !== this.scaled) {
      this.scaled = key
      const seen = this.drawn.map(one => this.seen(one.map))
      const shared = looks.shared_scale ? scaleOf(seen, looks.clip) : null
      this.drawn.forEach((one, i) => Object.assign(one, { seen: seen[i], scale: shared ?? scaleOf([seen[i]], looks.clip) }))
    }
    for (const one of this.drawn) this.drawRow(one, one.seen, one.scale)
    if (!this.pointed) this.point(null)
    this.root.dataset.drawn = scene.id
  }

  seen(map) {
    if (!this.forOnly || map.flat) return map
    const values = map.values.map(value => Math.max(value, 0))
    return { ...map, values, flat: values.some(value => value > 0) ? null : 'Nothing speaks for the target here.' }
  }

  drawRow(one, map, scale) {
    const { looks, scene } = this
    const flat = map.flat || !scale
    const automatic = scale && looks.shared_scale && scale.low < 0 ? 'coolwarm' : this.forOnly ? 'inferno' : map.colours
    const name = looks.colour_map ?? automatic
    const key = JSON.stringify([flat, scale, name, this.forOnly])
    if (one.key !== key) {
      one.key = key
      const colours = flat ? null : coloursOn(scale, name, scene)
      paint(one.over, colour(map.values, scale, colours))
      if (one.heat) {
        one.heat.getContext('2d').drawImage(one.over, 0, 0)
        this.drawBar(one, map, scale, colours)
      }
    }
    one.over.style.opacity = this.mapShown ? looks.opacity : 0
    const shown = this.mapShown ? `Overlay, map at ${Math.round(looks.opacity * 100)} % opacity` : 'Overlay, map hidden (H)'
    one.both.caption.textContent = shown
  }

  drawBar(one, map, scale, colours) {
    one.bar.replaceChildren()
    one.ends.replaceChildren()
    one.bar.dataset.scale = colours ? JSON.stringify([scale.low, scale.high]) : ''
    if (!colours) return
    const canvas = Object.assign(make('canvas', '', undefined, one.bar), { width: 1, height: 256 })
    paint(canvas, Uint8Array.from({ length: 768 }, (_, i) => colours[3 * (255 - Math.floor(i / 3)) + (i % 3)]))
    const power = scale.high < 0.01 || scale.high >= 1e4 ? Math.floor(Math.log10(scale.high)) : 0
    for (const tick of ticksOf(scale.low, scale.high)) {
      const text = String(Number((tick / 10 ** power).toPrecision(4))).replace('-', '−')
      const at = 100 * (1 - (tick - scale.low) / (scale.high - scale.low))
      make('span', 'tick', text, one.bar).style.top = `${Math.min(97, Math.max(3, at))}%`
    }
    const signed = scale.low < 0
    const words = map.evidence ? ['← speaks against      ', 'speaks for →'] : ['← less      ', 'more →']
    make('span', 'meaning', signed ? words.join('') : words[1], one.bar)
    if (power) make('span', '', `numbers on the bar × 10${raised(power)}`, one.ends)
    const cut = map.values.some(value => Math.abs(value) > scale.high)
    if (cut) make('span', '', `colours saturate at ${number(scale.high)}; the largest is ${number(largest(map.values))}`, one.ends)
  }
}

function largest(values) {
  let most = 0
  for (const value of values) most = Math.max(most, Math.abs(value))
  return most
}

function isDark(colour) {
  const context = document.createElement('canvas').getContext('2d')
  context.fillStyle = colour || '#fff'
  context.fillRect(0, 0, 1, 1)
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data
  return 0.3 * r + 0.6 * g + 0.1 * b < 110
}

const viewers = new WeakMap()

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const root = parentElement.querySelector('.viewer')
  if (!viewers.has(root)) viewers.set(root, new Viewer(root))
  const viewer = viewers.get(root)
  viewer.enter()
  viewer.show(unpack(data), looks => setStateValue('looks', { ...looks }), () => setTriggerValue('awaiting', true))
  return () => viewer.leave()
}
