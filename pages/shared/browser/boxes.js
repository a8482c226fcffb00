// A box to draw on a picture. Names of what was found come from outside: they are set as text, never as markup.
// Edges are [left, top, right, bottom] in pixels of the upload. The server's box is the truth, but not while a hand or
// a key is still at work.
const EDGES = ['Left', 'Top', 'Right', 'Bottom']
const WAIT = 350 // milliseconds after the last key until the server hears of it
const HOW = 'Drag to draw a box. With the keys: arrows move it, Shift and arrows resize it, Delete removes it.'

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.boxes')
  const own = root.own ??= built(root)
  own.data = data
  own.send = () => setTriggerValue('drawn', own.box ? own.box : [])
  const { width, height } = data
  if (own.picture.getAttribute('src') !== data.picture) own.picture.src = data.picture
  own.picture.alt = `The picture, ${width} × ${height} pixels`
  own.frame.style.aspectRatio = `${width} / ${height}`
  own.frame.style.setProperty('--ratio', width / height)
  own.inputs.forEach((input, i) => { input.max = i % 2 ? height : width })
  own.found.replaceChildren(...data.found.map(one => {
    const mark = element('div', 'found')
    mark.append(element('span', beside(one.edges, data), one.name))
    place(mark, one.edges, data)
    return mark
  }))
  if (own.from === null && !own.timer) own.box = data.box
  show(own)
}

function built (root) {
  const frame = element('div', 'frame')
  const own = {
    frame, box: null, from: null, timer: 0,
    picture: element('img'), found: element('div'), drawn: element('div', 'drawn'),
    said: element('output'), remove: element('button', '', 'Remove'), inputs: EDGES.map(() => element('input')),
  }
  frame.tabIndex = 0
  frame.setAttribute('role', 'application')
  frame.setAttribute('aria-label', HOW)
  own.picture.draggable = false
  frame.append(own.picture, own.found, own.drawn)
  const numbers = element('div', 'numbers')
  own.inputs.forEach((input, i) => {
    const label = element('label', '', EDGES[i])
    Object.assign(input, { type: 'number', min: 0, step: 1, inputMode: 'numeric', onchange: () => typed(own) })
    label.append(input)
    numbers.append(label)
  })
  own.remove.type = 'button'
  own.remove.onclick = () => { set(own, null); tell(own) }
  numbers.append(own.remove)
  own.said.setAttribute('aria-live', 'polite')
  root.replaceChildren(frame, element('p', 'how', HOW), numbers, own.said)
  root.onkeydown = event => event.stopPropagation() // keys typed here are not the page's shortcuts
  frame.onkeydown = event => pressed(own, event)
  frame.onpointerdown = event => {
    if (event.button || own.from) return
    frame.setPointerCapture(event.pointerId)
    own.from = { at: point(own, event), box: own.box, id: event.pointerId }
  }
  frame.onpointermove = event => {
    if (own.from?.id === event.pointerId) set(own, between(own.from.at, point(own, event)))
  }
  frame.onpointerup = event => {
    if (own.from?.id !== event.pointerId) return
    const box = between(own.from.at, point(own, event))
    const { box: before } = own.from
    own.from = null
    set(own, large(own, box) ? box : before)
    if (large(own, box)) tell(own)
  }
  frame.onpointercancel = () => give_up(own)
  return own
}

function give_up (own) {
  if (!own.from) return
  set(own, own.from.box)
  own.from = null
}

function pressed (own, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0
  const down = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0
  if (event.key === 'Escape') return give_up(own)
  event.stopPropagation()
  if (event.key === 'Delete' || event.key === 'Backspace') {
    event.preventDefault()
    if (own.box) { set(own, null); tell(own) }
  } else if (across || down) {
    event.preventDefault()
    set(own, own.box ? stepped(own, across, down, event.shiftKey) : middle(own.data))
    clearTimeout(own.timer)
    own.timer = setTimeout(() => tell(own), WAIT)
  }
}

// Moved, or with its right and lower edge moved, by a hundredth of the picture's side.
function stepped ({ box: [left, top, right, bottom], data }, across, down, resize) {
  const { width, height } = data
  const x = across * Math.max(1, Math.round(width / 100))
  const y = down * Math.max(1, Math.round(height / 100))
  if (resize) {
    return [left, top, clip(right + x, left + Math.min(data.least, width), width),
      clip(bottom + y, top + Math.min(data.least, height), height)]
  }
  const dx = clip(x, -left, width - right)
  const dy = clip(y, -top, height - bottom)
  return [left + dx, top + dy, right + dx, bottom + dy]
}

function typed (own) {
  const box = own.inputs.map(input => input.value === '' ? NaN : Number(input.value))
  if (box.some(Number.isNaN)) return
  const inside = box.every((edge, i) => edge >= 0 && edge <= (i % 2 ? own.data.height : own.data.width))
  if (inside && large(own, box)) {
    set(own, box)
    tell(own)
  } else {
    own.said.textContent = inside
      ? `Not taken: a box is ${own.data.least} pixels wide and high, or more.`
      : `Not taken: the picture has ${own.data.width} × ${own.data.height} pixels.`
  }
}

function tell (own) {
  clearTimeout(own.timer)
  own.timer = 0
  own.send()
}

function set (own, box) {
  own.box = box
  show(own)
}

function show (own) {
  const { box, drawn, inputs, remove, said, data } = own
  drawn.hidden = !box
  remove.disabled = !box
  if (box) place(drawn, box, data)
  if (own.shown === String(box)) return // a number that is being typed stays
  own.shown = String(box)
  inputs.forEach((input, i) => { input.value = box ? Math.round(box[i]) : '' })
  said.textContent = box
    ? `Box of ${Math.round(box[2] - box[0])} × ${Math.round(box[3] - box[1])} pixels`
    : 'No box is drawn.'
}

function place (mark, [left, top, right, bottom], { width, height }) {
  mark.style.left = `${100 * left / width}%`
  mark.style.top = `${100 * top / height}%`
  mark.style.width = `${100 * (right - left) / width}%`
  mark.style.height = `${100 * (bottom - top) / height}%`
}

// Where a name stands, so that it hides nothing of the box and is within the picture.
function beside ([left, top, right], { width, height }) {
  return `${top / height < 0.1 ? 'below' : ''} ${left + right > width ? 'leftwards' : ''}`
}

// The nearest corner of pixels to where the pointer is, within the picture.
function point ({ frame, data }, event) {
  const shown = frame.getBoundingClientRect()
  return [
    clip(Math.round((event.clientX - shown.left) / shown.width * data.width), 0, data.width),
    clip(Math.round((event.clientY - shown.top) / shown.height * data.height), 0, data.height),
  ]
}

function between ([x, y], [toX, toY]) {
  return [Math.min(x, toX), Math.min(y, toY), Math.max(x, toX), Math.max(y, toY)]
}

function middle ({ width, height }) {
  return [width / 4, height / 4, 3 * width / 4, 3 * height / 4].map(Math.round)
}

function large ({ data }, [left, top, right, bottom]) {
  return right - left >= Math.min(data.least, data.width) && bottom - top >= Math.min(data.least, data.height)
}

function clip (value, low, high) {
  return Math.min(Math.max(value, low), high)
}

function element (tag, name = '', words = '') {
  return Object.assign(document.createElement(tag), { className: name, textContent: words })
}
