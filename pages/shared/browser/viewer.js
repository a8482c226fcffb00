// The viewer. Everything that comes from outside is set as text, never as markup.

const ASK_EVERY = 10_000 // milliseconds, while something is awaited
const MANY = 4 // more maps than this are laid out as a contact sheet, unless the visitor says otherwise
const PLAIN = { opacity: 0.5, colour_map: null, clip: 99.5, shared_scale: false }
const WINDOW = { width: 100, level: 50, inverted: false } // per cent of the range that is displayed
const SHARES = [0.05, 0.1, 0.2] // of the pixels, inside the contours
const TYPED = 'input:not([type="range"], [type="checkbox"], [type="radio"]), textarea, [contenteditable], [role="combobox"]'
const PRESSED = 'button, a, summary, input:not([type="range"]), [role="button"], [role="tab"]' // by Space
const HINT = 'Point at a map, or press Tab and the arrow keys, to read its values. Click to enlarge, double-click to zoom in.'

class Viewer {
  constructor(root, palettes) {
    Object.assign(this, { root, palettes, given: -1, drawn: [], missing: new Set(), arrays: new Map(), view: new View() })
    this.looks = { ...PLAIN }
    this.sent = JSON.stringify(this.looks)
    this.plain()
    this.buildBar()
    this.swipe = new Swipe(one => [this.stage(one, 'both').element], frame => this.openSwipe(frame), () => this.draw())
    this.rows = make('div', 'rows', undefined, root)
    this.apart = make('div', 'apart', undefined, root)
    make('h3', '', 'Controls: what a map must beat', this.apart)
    this.controls = make('div', 'rows', undefined, this.apart)
    this.listen()
  }

  // What only this view knows of, and neither link nor record.
  plain() {
    this.forOnly = this.swiping = this.native = false
    this.mapShown = true
    this.sheet = null // the visitor's choice of layout
    this.window = { ...WINDOW }
    this.shares = []
    this.view.reset()
  }

  buildBar() {
    const bar = make('div', 'bar', undefined, this.root)
    bar.setAttribute('role', 'group')
    bar.setAttribute('aria-label', 'How the maps are shown')
    this.opacity = slider(0, 100, 1)
    this.opacityText = control(bar, 'Opacity', this.opacity)
    this.colours = make('select')
    for (const name of ['', ...this.palettes.colours.keys()]) make('option', '', name || 'automatic', this.colours).value = name
    control(bar, 'Colour map', this.colours)
    this.clip = slider(90, 100, 0.1)
    this.clipText = control(bar, 'Saturate at percentile', this.clip)
    this.scale = choice([['own', 'own for each map'], ['shared', 'one for all maps']])
    control(bar, 'Colour scale', this.scale)
    const second = make('div', 'second', undefined, bar)
    this.reading = make('div', 'reading soft', '', second)
    this.told = make('div', 'told', '', second) // to those who do not see: what the keys read, not where a mouse goes
    this.told.setAttribute('role', 'status')
    const buttons = make('div', 'buttons', undefined, second)
    this.forButton = button(buttons, 'Speaks for only', '', () => { this.forOnly = !this.forOnly; this.draw() })
    this.forButton.title = 'Hides what speaks against the target, in this view only: figures and records show both.'
    this.mapButton = button(buttons, 'Map', 'H', () => this.toggleMap())
    this.swipeButton = button(buttons, 'Swipe', '', () => { this.swiping = !this.swiping; this.draw() })
    this.swipeButton.title = 'Two models\' overlays in one frame, with a border to move.'
    this.sheetButton = button(buttons, 'Contact sheet', '', () => { this.sheet = !this.isSheet(); this.draw() })
    this.sheetButton.title = 'Small maps side by side. Click one to see it large.'
    const zoom = make('span', 'zoom', undefined, buttons)
    zoom.title = 'Also with Ctrl and the wheel, two fingers or a double click. Drag to move.'
    button(zoom, '−', '', () => this.zoom(1 / STEP)).setAttribute('aria-label', 'Zoom out')
    this.zoomText = make('output', '', '', zoom)
    button(zoom, '+', '', () => this.zoom(STEP)).setAttribute('aria-label', 'Zoom in')
    button(buttons, 'Reset', 'Space', () => this.reset())
    const link = button(buttons, 'Copy link', '', async () => {
      const address = new URL(location.href)
      for (const [key, value] of Object.entries(this.looks)) if (value !== null) address.searchParams.set(key, value)
      const copied = await navigator.clipboard?.writeText(address.href).then(() => true, () => false)
      link.textContent = copied ? 'Link copied' : 'It is in the address bar'
      setTimeout(() => { link.textContent = 'Copy link' }, 1500)
    })
    link.title = 'The question with all settings, and how it is looked at. The picture is not part of it, unless it is a sample.'
    this.buildMore(second)

    // The page steps through pictures with the arrow keys: not while they move a slider.
    bar.addEventListener('keydown', event => { if (event.key.startsWith('Arrow')) event.stopPropagation() })
    this.opacity.oninput = () => this.change({ opacity: this.opacity.value / 100 })
    this.colours.onchange = () => this.change({ colour_map: this.colours.value || null })
    this.clip.oninput = () => this.change({ clip: Number(this.clip.value) })
    this.scale.onchange = () => this.change({ shared_scale: this.scale.value === 'shared' })
  }

  // What is needed more rarely: window and level of the picture, contours and cells of the maps.
  buildMore(parent) {
    const more = make('details', 'more', undefined, parent)
    make('summary', '', 'Picture, contours, grid', more)
    const box = make('div', 'drawer', undefined, more)
    const [width, level] = [slider(1, 100, 1), slider(0, 100, 1)]
    Object.assign(this, { width, level })
    this.widthText = control(box, 'Window', width)
    this.levelText = control(box, 'Level', level)
    for (const input of [width, level])
      input.title = 'Changes how the picture is displayed, in its eight bits, and never what the model saw.'
    width.oninput = () => this.rewindow({ width: Number(width.value) })
    level.oninput = () => this.rewindow({ level: Number(level.value) })
    this.invertButton = button(box, 'Invert', 'I', () => this.invert())
    this.invertButton.title = 'Changes how the picture is displayed, never what the model saw.'
    button(box, 'Reset picture', '', () => this.rewindow(WINDOW))
    this.contours = choice([['', 'none'], ...SHARES.map(share => [share, `top ${percent(share)}`]), ['all', 'all three']])
    this.contours.title = 'Lines around the highest pixels of each map, on its overlay. Equal values stay together.'
    control(box, 'Contours', this.contours)
    this.contours.onchange = () => {
      const { value } = this.contours
      this.shares = value === 'all' ? SHARES : SHARES.filter(share => String(share) === value)
      this.draw()
    }
    this.nativeButton = button(box, 'Native grid', '', () => { this.native = !this.native; this.draw() })
    this.nativeButton.title = 'Each map in the cells that it really resolves, every cell in the mean of its values. ' +
      'The numbers that are read stay those of the map.'
    this.filter = svg('filter', { id: 'windowed', 'color-interpolation-filters': 'sRGB' }, svg('svg', { width: 0, height: 0 }, this.root))
    const transfer = svg('feComponentTransfer', {}, this.filter)
    for (const channel of 'RGB') svg(`feFunc${channel}`, { type: 'linear' }, transfer)
  }

  listen() {
    this.onKey = event => this.key(event)
    this.onPress = () => { this.clicked = true }
    // The server hears of new looks when the visitor turns to something else: looking itself costs no message.
    this.root.addEventListener('pointerleave', () => { this.point(null); this.hand() })
    this.root.addEventListener('focusout', event => { if (!this.root.contains(event.relatedTarget)) this.hand() })
    this.onAway = () => this.hand()
    this.onHere = ({ detail }) => { if (detail === this.name || this.missing.has(detail)) this.arrive() }
  }

  // Streamlit may call `leave` and go on with the same element, so every call enters again; twice does no harm.
  enter(name, send, ask) {
    Object.assign(this, { name, send, ask })
    document.addEventListener('keydown', this.onKey)
    document.addEventListener('pointerdown', this.onPress, true)
    document.addEventListener('visibilitychange', this.onAway)
    document.addEventListener('second-look-here', this.onHere)
    this.arrive()
  }

  leave() {
    this.wait(false)
    document.removeEventListener('keydown', this.onKey)
    document.removeEventListener('pointerdown', this.onPress, true)
    document.removeEventListener('visibilitychange', this.onAway)
    document.removeEventListener('second-look-here', this.onHere)
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
    this.looks = { ...PLAIN, shared_scale: this.scene.several }
    this.plain()
    this.swipe.reset()
    for (const tile of this.root.querySelectorAll('.large')) tile.classList.remove('large')
    for (const one of this.drawn) one.row.classList.remove('open')
    this.draw()
  }

  toggleMap() {
    this.mapShown = !this.mapShown
    this.draw()
  }

  rewindow(part) {
    Object.assign(this.window, part)
    this.drawWindow()
  }

  invert() { this.rewindow({ inverted: !this.window.inverted }) }

  zoom(factor, place) {
    this.view.zoomBy(factor, place)
    this.drawView()
  }

  // Letters are left to what takes them as text, and Space to what was reached by Tab and is pressed by it: what was
  // clicked keeps the focus, and is done with. (Any key makes it :focus-visible.)
  key(event) {
    if (event.key === 'Tab') this.clicked = false
    if (event.ctrlKey || event.metaKey || event.altKey || !this.root.isConnected) return
    const from = event.composedPath()[0]
    const mine = this.root.contains(from)
    if (from.matches?.(this.clicked ? TYPED : `${TYPED}, select`)) return
    const near = mine || this.root.matches(':hover')
    const pressed = !this.clicked && from.matches?.(PRESSED)
    const act = {
      h: () => this.toggleMap(),
      i: () => this.invert(),
      s: this.isSwiping() && (() => this.swipe.swap()),
      '+': near && (() => this.zoom(STEP, this.pointed)),
      '-': near && (() => this.zoom(1 / STEP, this.pointed)),
      ' ': near && !pressed && (() => this.reset()),
    }[event.key === '=' ? '+' : event.key.toLowerCase()]
    if (!act) return
    act()
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

  // The words are there, or an array that they name: show them as soon as all are.
  arrive() {
    const words = wanted(this.name)
    if (!words) return
    const scene = JSON.parse(new TextDecoder().decode(words))
    const names = [...scene.pictures, ...scene.maps, ...scene.upload ? [scene.upload] : []].map(one => one.array)
    this.missing = new Set()
    const kept = new Map(names.map(name => {
      const bytes = this.arrays.get(name) ?? wanted(name)
      if (!bytes) this.missing.add(name)
      return [name, bytes]
    }))
    if (this.missing.size) return
    this.arrays = kept
    this.show(assemble(scene, (name, Kind) => {
      if (Kind && !(kept.get(name) instanceof Kind)) kept.set(name, new Kind(kept.get(name).buffer))
      return kept.get(name)
    }))
  }

  show(scene) {
    this.wait(scene.awaited, this.ask)
    if (scene.given !== this.given) {
      this.given = scene.given
      this.looks = { ...PLAIN, ...scene.looks }
      this.sent = JSON.stringify(this.looks)
    }
    if (this.scene?.id !== scene.id) {
      this.takeUpload(scene.upload)
      this.scene = scene
      this.buildRows()
    }
    this.draw()
  }

  // The upload's own pixels, under an address that lives as long as they are shown.
  takeUpload(upload) {
    if (upload?.array === this.upload?.array) return
    if (this.upload) URL.revokeObjectURL(this.upload.address)
    const address = upload && URL.createObjectURL(new Blob([this.arrays.get(upload.array)], { type: 'image/jpeg' }))
    this.upload = upload && { ...upload, address }
  }

  buildRows() {
    const { scene } = this
    const known = new Map(this.drawn.map(one => [one.map.id, one]))
    const byId = new Map(scene.maps.map(map => [map.id, map]))
    const [left, top, right, bottom] = scene.area, [picture] = scene.pictures
    // One picture is drawn as the model saw it; several share the proportions of the upload.
    const aspect = scene.pictures.length > 1 ? (right - left) / (bottom - top) : picture.width / picture.height
    this.root.style.setProperty('--aspect', aspect)
    this.drawn = []
    const methods = [], controls = [], rivals = []
    for (const place of scene.order) {
      const wanted = place.control ? controls : methods
      if (place.waiting) wanted.push(this.buildWaiting(place.waiting))
      else {
        const map = byId.get(place.id), one = known.get(place.id) ?? this.buildRow(map)
        one.map = map
        this.head(one)
        this.judge(one)
        one.stages.forEach(stage => this.place(one, stage))
        this.drawn.push(one)
        wanted.push(one.row)
        if (!place.control) rivals.push(one)
      }
    }
    fill(this.rows, methods)
    fill(this.controls, controls)
    this.apart.hidden = !controls.length
    this.swipe.offer(scene.several ? rivals : [])
  }

  isSheet() {
    return this.sheet ?? this.scene.order.length > MANY
  }

  isSwiping() {
    return this.swiping && this.swipe.pair.every(Boolean)
  }

  buildWaiting(label) {
    const box = make('div', 'waiting')
    make('div', 'blank', '', box)
    make('span', '', label, box)
    make('span', 'soft', 'not there yet', box)
    return box
  }

  buildRow(map) {
    const row = make('section', 'row'), one = { map, row, stages: [], outlines: new Map() }
    row.classList.toggle('invalid', Boolean(map.invalid))
    const head = make('div', 'head', undefined, row)
    const name = make('h3', '', '', head)
    one.mark = make('span', map.mark === '✗' ? 'mark bad' : 'mark', map.mark, name)
    one.title = make('span', '', '', name)
    const about = make('span', 'about soft', 'for ', head)
    make('strong', '', map.target, about)
    one.by = make('span', '', '', about)
    one.small = make('span', 'small soft', '', head)
    if (map.notice) make('span', 'notice', map.notice, head)
    one.value = make('span', 'value', '', head)
    one.open = make('button', 'open-close', '', head)
    one.open.type = 'button'
    one.judged = make('div', 'judged', undefined, row)
    one.tiles = make('div', 'tiles', undefined, row)
    one.both = this.tile(one, 'Overlay', 'Overlay on the picture. ' + map.spoken, 'both')
    one.open.onclick = () => this.open(one)
    if (map.invalid) make('p', 'flat', map.invalid, row)
    if (map.flat) make('p', 'flat', map.flat + ' It is drawn in one grey and must not be read as evidence.', row)
    make('p', 'facts soft', map.facts.join(' · '), row)
    if (map.settings) make('p', 'noted soft', 'Settings: ' + map.settings, row)
    for (const note of map.notes) make('p', 'noted', 'Note: ' + note, row)
    return one
  }

  // Whose map it is: the model leads as soon as there are several.
  head({ map, row, title, by }) {
    row.setAttribute('aria-label', map.title)
    title.textContent = map.title
    by.textContent = this.scene.several ? '' : ' · ' + map.model
  }

  // How far a map can be believed: known only after it is shown.
  judge(one) {
    const { map } = one, { verdict, colour, why, checks, pending } = map.judged
    const said = JSON.stringify(map.judged)
    if (one.said === said) return
    one.said = said
    for (const tile of [one.both, one.bare]) tile?.frame.setAttribute('aria-label', map.spoken)
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
    if (one.bare) return
    const { map } = one
    this.tile(one, 'What the model saw', `What ${map.model} saw`, 'seen')
    const bare = one.bare = this.tile(one, 'Attribution map', map.spoken, 'bare')
    one.tiles.append(one.both.tile)
    one.bar = make('div', 'scale', undefined, bare.pane)
    one.ends = make('div', 'ends soft', undefined, bare.caption)
    one.key = ''
  }

  open(one) {
    one.row.classList.toggle('open')
    this.draw()
    one.row.scrollIntoView({ block: 'nearest' })
  }

  tile(one, caption, spoken, shown) {
    const tile = make('figure', `tile ${shown}`, undefined, one.tiles)
    const isSmall = () => one.row.classList.contains('compact')
    const enlarge = () => isSmall() ? this.open(one) : tile.classList.toggle('large')
    const pane = make('div', 'pane', undefined, tile)
    const frame = make('div', 'frame', undefined, pane)
    frame.tabIndex = 0
    frame.setAttribute('role', 'img')
    frame.setAttribute('aria-label', spoken)
    frame.append(this.stage(one, shown).element)
    if (one.map.flat && shown !== 'seen') make('span', 'flatsign', 'flat', frame)
    this.openFrame(frame, () => one, { clicked: enlarge, waits: () => !isSmall() })
    frame.onkeydown = event => {
      if (event.key === 'Enter') enlarge()
      else if (!this.step(one, event)) return
      event.preventDefault()
      event.stopPropagation()
    }
    const text = make('figcaption', '', caption, tile)
    return { tile, pane, frame, caption: text }
  }

  openSwipe(frame) {
    const pointed = part => this.swipe.pair[part * 100 < this.swipe.part ? 0 : 1]
    this.openFrame(frame, pointed, { clicked: () => {}, waits: () => true })
  }

  // A frame that can be pointed at and moved in. `pointed` says whose map is at a fraction of its width.
  openFrame(frame, pointed, clicks) {
    navigate(frame, this.view, () => this.drawView(), clicks)
    frame.addEventListener('pointermove', event => {
      const box = frame.getBoundingClientRect()
      const part = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      const one = pointed(part[0])
      if (one) this.point(this.view.at(part), one)
    })
  }

  // -- layers --

  // What one frame shows of a map, `shown`: the picture where it lies, the map on it with its contours, or both.
  stage(one, shown) {
    const { width, height, pixels } = one.map.picture
    const canvas = (className, parent) => Object.assign(make('canvas', className, undefined, parent), { width, height })
    const element = make('div', 'stage'), stage = { element, layers: [], key: '' }
    const layer = made => { element.append(made); stage.layers.push(made); return made }
    if (shown !== 'bare') {
      stage.picture = layer(make('div', 'picture'))
      paint(canvas('', stage.picture), pixels)
    }
    if (shown !== 'seen') stage.map = layer(canvas('map'))
    if (shown === 'both') stage.lines = layer(svg('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', class: 'contours' }))
    stage.across = make('div', 'across', undefined, element)
    stage.down = make('div', 'down', undefined, element)
    one.stages.push(stage)
    this.place(one, stage)
    return stage
  }

  place({ map }, stage) {
    const put = (element, [left, top, right, bottom], [x, y, toX, toY]) => Object.assign(element.style, {
      left: `${(left - x) / (toX - x) * 100}%`, width: `${(right - left) / (toX - x) * 100}%`,
      top: `${(top - y) / (toY - y) * 100}%`, height: `${(bottom - top) / (toY - y) * 100}%` })
    const { box } = map.picture
    for (const layer of stage.layers) put(layer, box, this.scene.area)
    const { upload } = this
    if (stage.lines && stage.address !== upload?.address) { // an overlay, and the upload came, went or changed
      stage.address = upload?.address
      stage.upload?.remove()
      stage.upload = upload && make('img', '', undefined, stage.picture)
      if (upload) Object.assign(stage.upload, { src: upload.address, alt: '', draggable: false })
    }
    if (stage.upload) put(stage.upload, [0, 0, upload.width, upload.height], box)
  }

  // -- the pointer --

  // The pixel of a map's picture at a place, or null where its model did not look.
  pixel({ picture }, [x, y]) {
    const [left, top, right, bottom] = this.scene.area, { box, width, height } = picture
    const column = Math.floor((left + x * (right - left) - box[0]) / (box[2] - box[0]) * width)
    const row = Math.floor((top + y * (bottom - top) - box[1]) / (box[3] - box[1]) * height)
    return row >= 0 && row < height && column >= 0 && column < width ? [row, column] : null
  }

  // The place of the middle of a pixel.
  middle({ picture }, [row, column]) {
    const [left, top, right, bottom] = this.scene.area, { box, width, height } = picture
    const part = (at, size) => (Math.min(size - 1, Math.max(0, at)) + 0.5) / size
    return [
      (box[0] + part(column, width) * (box[2] - box[0]) - left) / (right - left),
      (box[1] + part(row, height) * (box[3] - box[1]) - top) / (bottom - top)]
  }

  // Move by a key, in pixels of what the map's model saw. Whether the key is one for that.
  step(one, { key, shiftKey }) {
    const { map } = one, by = shiftKey ? 10 : 1
    const [row, column] = this.pointed && this.pixel(map, this.pointed) || map.peak
    const to = {
      ArrowUp: [row - by, column], ArrowDown: [row + by, column], ArrowLeft: [row, column - by],
      ArrowRight: [row, column + by], Home: map.peak }[key]
    if (!to) return false
    this.point(this.middle(map, to), one)
    this.view.reveal(this.pointed)
    this.drawView()
    this.told.textContent = this.inWords(map)
    return true
  }

  point(place, one) {
    const pixel = place && this.pixel(one.map, place)
    this.pointed = pixel ? this.middle(one.map, pixel) : place
    this.root.classList.toggle('pointing', Boolean(place))
    for (const other of this.drawn) other.value.textContent = ''
    if (!place) {
      this.reading.textContent = HINT
      return
    }
    const [x, y] = this.pointed
    this.root.style.setProperty('--x', x)
    this.root.style.setProperty('--y', y)
    const { picture, model } = one.map, whose = this.scene.several ? ` of what ${model} saw` : ''
    const said = pixel ? [`row ${pixel[0]}, column ${pixel[1]}${whose}`] : [`outside${whose}`]
    if (pixel) {
      const at = 3 * (pixel[0] * picture.width + pixel[1])
      said.push(`RGB ${[...picture.pixels.subarray(at, at + 3)].join(', ')}`)
    }
    for (const other of this.drawn) {
      other.value.textContent = this.valueOf(other.map)
      if (other === one || this.drawn.length <= MANY) said.push(`${other.map.title} ${this.valueOf(other.map)}`)
    }
    this.reading.textContent = said.join('  ·  ')
  }

  valueOf(map) {
    const pixel = this.pixel(map, this.pointed)
    return pixel ? number(map.values[pixel[0] * map.picture.width + pixel[1]]) : 'not seen'
  }

  inWords(map) {
    const [row, column] = this.pixel(map, this.pointed)
    return `${map.title} ${this.valueOf(map)} at row ${row}, column ${column}`
  }

  // -- drawing --

  draw() {
    const { looks, scene } = this
    const dark = getComputedStyle(this.root).getPropertyValue('--st-background-color').trim()
    this.root.classList.toggle('dark', isDark(dark))
    this.opacity.value = Math.round(looks.opacity * 100)
    this.opacityText.textContent = percent(looks.opacity)
    this.clip.min = Math.min(90, looks.clip)
    this.clip.value = looks.clip
    this.clipText.textContent = String(looks.clip)
    this.colours.value = looks.colour_map ?? ''
    this.scale.value = looks.shared_scale ? 'shared' : 'own'
    this.contours.value = this.shares.length > 1 ? 'all' : String(this.shares[0] ?? '')
    const sheet = this.isSheet(), swiping = this.isSwiping()
    this.swipeButton.hidden = !this.swipe.pair.every(Boolean)
    if (!swiping) this.swipe.root.remove()
    else if (!this.swipe.root.isConnected) this.rows.before(this.swipe.root)
    const pressed = [
      [this.forButton, this.forOnly], [this.mapButton, this.mapShown], [this.nativeButton, this.native],
      [this.swipeButton, swiping], [this.sheetButton, sheet]]
    for (const [made, on] of pressed) made.setAttribute('aria-pressed', String(on))
    this.root.classList.toggle('sheet', sheet)
    for (const one of this.drawn) {
      const opened = one.row.classList.contains('open')
      one.row.classList.toggle('compact', sheet && !opened)
      one.open.textContent = opened ? 'Close' : '⤢'
      one.open.setAttribute('aria-label', `${opened ? 'Close' : 'Enlarge'} ${one.map.title}`)
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
    this.drawWindow()
    this.drawView()
    if (!this.pointed) this.point(null)
    this.root.dataset.drawn = scene.id
  }

  seen(map) {
    if (!this.forOnly || map.flat) return map
    const values = map.values.map(value => Math.max(value, 0))
    return { ...map, values, flat: values.some(value => value > 0) ? null : 'Nothing speaks for the target here.' }
  }

  drawRow(one, map, scale) {
    const { looks } = this
    const flat = map.flat || !scale
    const automatic = scale && looks.shared_scale && scale.low < 0 ? 'coolwarm' : this.forOnly ? 'inferno' : map.colours
    const name = looks.colour_map ?? automatic
    const key = JSON.stringify([flat, scale, name, this.forOnly, this.native])
    if (one.key !== key) {
      one.key = key
      const colours = one.colours = flat ? null : coloursOn(scale, name, this.palettes)
      const { height, width } = map.picture
      one.painted = colour(this.native ? inCells(map.values, height, width, map.grid) : map.values, scale, colours)
      if (one.bar) this.drawBar(one, map, scale, colours)
    }
    one.stages = one.stages.filter(({ element }) => [this.root, this.swipe.root].some(root => root.contains(element)))
    for (const stage of one.stages) this.drawStage(one, stage)
    const shown = this.mapShown ? `Overlay, map at ${percent(looks.opacity)} opacity` : 'Overlay, map hidden (H)'
    const lines = this.shares.length && !map.flat ? `; lines around the highest ${this.shares.map(percent).join(', ')}` : ''
    one.both.caption.textContent = shown + lines
  }

  drawStage(one, stage) {
    const { map } = one
    stage.element.classList.toggle('grey', Boolean(map.invalid || map.judged.why))
    if (stage.map && stage.key !== one.key) {
      stage.key = one.key
      paint(stage.map, one.painted)
    }
    if (!stage.lines) return
    stage.map.style.opacity = this.mapShown ? this.looks.opacity : 0
    const { height, width } = map.picture, shares = map.flat || !this.mapShown ? [] : this.shares
    if (stage.shares === shares) return
    stage.shares = shares
    stage.lines.replaceChildren()
    for (const share of shares) {
      if (!one.outlines.has(share)) one.outlines.set(share, outline(highest(map.values, share), height, width))
      for (const className of ['halo', 'line']) {
        const kind = `${className} top-${share * 100}`
        svg('path', { d: one.outlines.get(share), class: kind, 'vector-effect': 'non-scaling-stroke' }, stage.lines)
      }
    }
  }

  drawWindow() {
    const { width, level, inverted } = this.window, sign = inverted ? -1 : 1
    this.width.value = width
    this.level.value = level
    this.widthText.textContent = `${width} %`
    this.levelText.textContent = `${level} %`
    this.invertButton.setAttribute('aria-pressed', String(inverted))
    // from level - width / 2, black, to level + width / 2, white
    for (const channel of this.filter.querySelectorAll('feComponentTransfer > *')) {
      channel.setAttribute('slope', sign * 100 / width)
      channel.setAttribute('intercept', 0.5 - sign * level / width)
    }
    this.root.classList.toggle('windowed', JSON.stringify(this.window) !== JSON.stringify(WINDOW))
  }

  drawView() {
    const { zoom, left, top } = this.view, [from, , to] = this.scene.area
    for (const [name, value] of Object.entries({ zoom, left, top })) this.root.style.setProperty(`--${name}`, value)
    this.zoomText.textContent = `${Math.round(zoom * 100)} %`
    this.root.classList.toggle('zoomed', zoom > 1)
    const stages = this.drawn.flatMap(({ map, stages }) => stages.map(stage => {
      const { box, width } = map.picture, shown = zoom > 1 ? stage.element.parentElement.clientWidth * zoom : 0
      return [stage, shown * (box[2] - box[0]) / (to - from) / width] // how many CSS pixels one of the model's takes
    }))
    for (const [{ map, picture, upload }, size] of stages) {
      for (const layer of [map, picture]) layer?.classList.toggle('crisp', size > 1)
      if (upload) upload.hidden = size * devicePixelRatio <= 1
    }
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
  if (!viewers.has(root)) viewers.set(root, new Viewer(root, palettesOf(data)))
  const viewer = viewers.get(root)
  viewer.enter(data.words, looks => setStateValue('looks', { ...looks }), () => setTriggerValue('awaiting', true))
  return () => viewer.leave()
}
