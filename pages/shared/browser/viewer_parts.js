// Small makers, numbers as people read them, and what was sent.

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

function choice(options) {
  const select = make('select')
  for (const [value, text] of options) make('option', '', text, select).value = value
  return select
}

function button(parent, text, key, act) {
  const made = make('button', '', text, parent)
  made.type = 'button'
  if (key) make('kbd', '', key, made)
  made.onclick = act
  return made
}

function svg(tag, attributes, parent) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  parent?.append(element)
  return element
}

function fill(box, wanted) { // what stays is not moved, so that it keeps the focus
  for (const child of [...box.children]) if (!wanted.includes(child)) child.remove()
  wanted.forEach((child, i) => {
    if (box.children[i] !== child) box.insertBefore(child, box.children[i] ?? null)
  })
}

// ---- numbers as people read them -----------------------------------------------------------------------------------

function number(value) {
  if (value === 0) return '0'
  const size = Math.abs(value)
  const text = size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
  return text.replaceAll('-', '−')
}

const percent = share => `${Math.round(share * 100)}\u00a0%` // never broken between lines

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

// The parcel of that name, as bytes, if it is on the page.
function wanted(name) {
  const asked = new CustomEvent('second-look-wanted', { detail: { name } })
  document.dispatchEvent(asked)
  return asked.detail.content
}

export function palettesOf({ palettes, two_signed: twoSigned }) {
  const bytes = text => Uint8Array.from(atob(text), one => one.charCodeAt(0))
  return { colours: new Map(Object.entries(palettes).map(([name, text]) => [name, bytes(text)])), twoSigned }
}

// Put the arrays into what the words say: `array(name)` gives the bytes. Every map then holds its values and its picture.
export function assemble(scene, array) {
  for (const picture of scene.pictures) picture.pixels = array(picture.array)
  for (const map of scene.maps) {
    map.picture = scene.pictures[map.picture]
    map.values = array(map.array, Float32Array)
  }
  return scene
}
