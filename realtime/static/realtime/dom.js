// Elements without markup in strings.

/** An element. `text` is its text, `on` its listeners by type; anything else is an attribute, and
 * what is false, null or undefined is left out. */
export function make(tag, { text, on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) element.textContent = text;
  for (const [type, listener] of Object.entries(on)) element.addEventListener(type, listener);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A `<select>` of { value: label }. */
export function choose(choices, chosen, attributes) {
  const options = Object.entries(choices).map(([value, text]) => make("option", { value, text }));
  const select = make("select", attributes, ...options);
  select.value = chosen;
  return select;
}

/** Changes a text only where it is another one: the same text again costs a layout, too. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A clone of the first element of a `<template>`. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
