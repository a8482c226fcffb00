// The score table. Everything that comes from outside is set as text, never as markup.

function make(tag, className, text, parent) {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  parent?.append(element)
  return element
}

function cell(line, one) {
  const box = make('td', one.best ? 'best' : '', undefined, line)
  if (one.why) {
    make('span', 'undefined', 'undefined', box).title = one.why
    return
  }
  make('span', '', one.best ? `★ ${one.text}` : one.text, box)
  if (one.behind) make('span', 'behind', '†', box).title = one.behind
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector('.scores'), said = JSON.stringify(data)
  if (root.said === said) return
  root.said = said
  const frame = root.querySelector('.frame') ?? make('div', 'frame', undefined, root) // it keeps the focus and its scroll
  frame.tabIndex = 0
  frame.setAttribute('role', 'region')
  frame.setAttribute('aria-label', data.spoken)
  const table = make('table')
  const top = make('tr', '', undefined, make('thead', '', undefined, table))
  const head = (text, className) => {
    const made = make('th', className, text, top)
    made.scope = 'col'
    return made
  }
  head('Method', 'name')
  if (data.weighed) head('Evidence', 'words')
  for (const one of data.heads) {
    const made = head(one.label)
    made.title = one.summary
    if (one.arrow) make('span', 'arrow', ` ${one.arrow}`, made).title = one.better
  }
  let body = make('tbody', '', undefined, table), below = false
  for (const row of data.rows) {
    if (row.control && !below) {
      below = true
      body = make('tbody', 'controls', undefined, table)
      const line = make('th', 'name', 'Controls: what a map must beat', make('tr', 'rule', undefined, body))
      line.scope = 'rowgroup'
      make('td', '', undefined, line.parentElement).colSpan = data.heads.length + data.weighed
    }
    const line = make('tr', '', undefined, body)
    make('th', 'name', row.label, line).scope = 'row'
    if (data.weighed) make('td', `words ${row.colour}`, row.verdict, line)
    for (const one of row.cells) cell(line, one)
  }
  const last = make('tr', 'nulls', undefined, make('tfoot', '', undefined, table))
  make('th', 'name', 'A map that knows nothing', last).scope = 'row'
  if (data.weighed) make('td', '', '', last)
  for (const text of data.nulls) make('td', '', text, last)
  const { scrollLeft } = frame
  frame.replaceChildren(table)
  frame.scrollLeft = scrollLeft
}
