// Two overlays in one frame: one map left of a border that can be moved, another right of it, on the same place of the upload.

class Swipe {
  // `panes(one)` makes the layers of a map, `opened(frame)` lets a frame be pointed at, zoomed and dragged, and
  // `chosen()` draws the layers of another pair.
  constructor(panes, opened, chosen) {
    Object.assign(this, { panes, chosen })
    this.pair = []
    this.root = make('section', 'swipe')
    this.root.setAttribute('aria-label', 'Two overlays with a border to move')
    const head = make('div', 'head', undefined, this.root)
    this.selects = ['Left', 'Right'].map((label, side) => {
      const select = make('select')
      select.onchange = () => this.choose(side, select.value)
      control(head, label, select)
      return select
    })
    button(head, 'Swap', 'S', () => this.swap())
    this.frame = make('div', 'frame', undefined, this.root)
    this.sides = ['left', 'right'].map(side => make('div', `side ${side}`, undefined, this.frame))
    this.names = ['left', 'right'].map(side => make('span', `name ${side}`, '', this.frame))
    this.handle = make('div', 'handle', undefined, this.frame)
    this.handle.tabIndex = 0
    for (const [name, value] of [['role', 'slider'], ['aria-orientation', 'horizontal'], ['aria-valuemin', 0], ['aria-valuemax', 100]])
      this.handle.setAttribute(name, value)
    opened(this.frame)
    this.listen()
    this.reset()
  }

  listen() {
    const { handle, frame } = this
    handle.onpointerdown = event => {
      handle.setPointerCapture(event.pointerId)
      event.stopPropagation() // else the frame would be dragged
    }
    handle.onpointermove = event => {
      if (!handle.hasPointerCapture(event.pointerId)) return
      const box = frame.getBoundingClientRect()
      this.moveTo((event.clientX - box.left) / box.width * 100)
    }
    handle.onclick = event => event.stopPropagation()
    handle.onkeydown = event => {
      const step = event.shiftKey ? 10 : 1
      const to = {
        ArrowLeft: this.part - step, ArrowDown: this.part - step, ArrowRight: this.part + step, ArrowUp: this.part + step,
        PageDown: this.part - 10, PageUp: this.part + 10, Home: 0, End: 100 }[event.key]
      if (to === undefined) return
      this.moveTo(to)
      event.preventDefault()
      event.stopPropagation() // the page steps through pictures with the arrow keys
    }
  }

  reset() { this.moveTo(50) }

  moveTo(part) {
    this.part = Math.round(Math.min(100, Math.max(0, part)))
    this.frame.style.setProperty('--border', `${this.part}%`)
    this.handle.setAttribute('aria-valuenow', this.part)
    this.handle.setAttribute('aria-valuetext', `${this.part} % from the left`)
  }

  // What can be compared: the pair that is shown stays, as long as it is there; else the first maps of two models.
  offer(drawn) {
    this.offered = drawn
    const [left, right] = this.pair.map(one => drawn.find(other => other === one))
    const first = left ?? drawn.find(one => one !== right)
    const pair = [first, right ?? drawn.find(one => one.map.who !== first?.map.who)]
    this.root.classList.toggle('many', drawn.length > 2)
    for (const select of this.selects)
      select.replaceChildren(...drawn.map(({ map }) => Object.assign(make('option', '', map.title), { value: map.id })))
    this.show(pair)
  }

  choose(side, id) {
    const pair = [...this.pair], one = this.offered.find(({ map }) => map.id === id)
    if (pair[1 - side] === one) pair[1 - side] = pair[side] // one cannot be on both sides
    pair[side] = one
    this.show(pair)
    this.chosen()
  }

  swap() {
    this.show([this.pair[1], this.pair[0]])
    this.chosen()
  }

  show(pair) {
    pair.forEach((one, i) => {
      if (this.pair[i] === one) return
      this.sides[i].replaceChildren(...(one ? this.panes(one) : []))
    })
    this.pair = pair
    pair.forEach((one, i) => {
      if (!one) return
      this.names[i].textContent = one.map.title + (one.map.flat ? ' (flat)' : '')
      this.selects[i].value = one.map.id
    })
    const [left, right] = pair.map(one => one?.map.title)
    this.handle.setAttribute('aria-label', `Border between ${left} and ${right}`)
  }
}
