// Cards to click: a thumbnail with a few words. Whatever comes from outside is set as text or attribute, never as markup.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.cards')
  root.classList.toggle('strip', data.strip)
  root.setAttribute('aria-label', data.title)
  const known = new Map([...root.children].map(card => [card.dataset.key, card]))
  const wanted = data.items.map(item => {
    const card = known.get(item.key) ?? made(item.key)
    card.title = item.title
    card.setAttribute('aria-current', String(item.key === data.chosen))
    const [picture, words] = card.children
    if (picture.getAttribute('src') !== item.picture) picture.src = item.picture
    picture.alt = item.title
    words.replaceChildren(...item.lines.map(line => text('span', line)))
    words.hidden = !item.lines.length
    card.querySelector('.mark')?.remove()
    if (item.mark) card.append(Object.assign(text('b', item.mark), { className: 'mark' }))
    card.onclick = () => setTriggerValue('picked', item.key)
    return card
  })
  root.replaceChildren(...wanted)

  function made (key) {
    const card = document.createElement('button')
    card.type = 'button'
    card.dataset.key = key
    card.append(document.createElement('img'), document.createElement('div'))
    return card
  }

  function text (tag, words) {
    const element = document.createElement(tag)
    element.textContent = words
    return element
  }
}
