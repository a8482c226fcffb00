// A strip of thumbnails. Everything that comes from outside is set as text or as an attribute, never as markup.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.samples')
  root.replaceChildren()
  root.classList.toggle('narrow', root.getBoundingClientRect().width < 420)
  for (const group of data.groups) {
    const title = document.createElement('h3')
    title.textContent = group.title
    const strip = document.createElement('div')
    strip.className = 'strip'
    strip.setAttribute('role', 'group')
    strip.setAttribute('aria-label', group.title)
    for (const item of group.items) {
      const button = document.createElement('button')
      const picture = document.createElement('img')
      picture.src = item.picture
      picture.alt = item.label
      button.type = 'button'
      button.title = item.label
      button.setAttribute('aria-pressed', String(item.key === data.chosen))
      button.onclick = () => setTriggerValue('picked', item.key)
      button.append(picture)
      strip.append(button)
    }
    root.append(title, strip)
  }
}
