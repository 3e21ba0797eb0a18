// The part of XML 1.0 that annotations are written in: elements, text, the five named entities and characters by number.
// Attributes, comments and instructions are passed over; a document type is refused, and with it every entity that could
// grow. Depth and number of elements are bounded.

/** An element with its own text, trimmed. */
export interface XmlElement {
  name: string;
  text: string;
  children: XmlElement[];
}

const MOST_ELEMENTS = 100_000;
const MOST_DEPTH = 50;
const NAME = '[A-Za-z_][\\w.:-]*';
const ATTRIBUTE = `\\s+${NAME}\\s*=\\s*(?:"[^"<]*"|'[^'<]*')`;
const TOKEN = new RegExp(
  `<!--[^]*?-->|<\\?[^]*?\\?>|<(?<open>${NAME})(?:${ATTRIBUTE})*\\s*(?<empty>/?)>|</(?<close>${NAME})\\s*>|(?<text>[^<]+)`,
  'y',
);
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The root element. `fail` makes the error of text that is no such XML. */
export function parseXml(xml: string, fail: (why: string) => never): XmlElement {
  const document: XmlElement = { name: '', text: '', children: [] };
  const open = [document];
  let elements = 0;
  TOKEN.lastIndex = xml.charCodeAt(0) === 0xfeff ? 1 : 0;
  while (TOKEN.lastIndex < xml.length) {
    const at = TOKEN.lastIndex;
    const { open: name, empty, close, text } = TOKEN.exec(xml)?.groups ?? fail(`it is no XML at character ${at}`);
    const parent = open[open.length - 1];
    if (name !== undefined) {
      if (++elements > MOST_ELEMENTS || open.length > MOST_DEPTH) fail('it has too many elements');
      const element = { name, text: '', children: [] };
      parent.children.push(element);
      if (empty === '') open.push(element);
    } else if (close !== undefined) {
      if (close !== parent.name) fail(`it closes ${close} where ${parent.name || 'nothing'} is open`);
      parent.text = parent.text.trim();
      open.pop();
    } else if (text !== undefined) parent.text += unescaped(text, fail);
  }
  if (open.length > 1) fail('it is cut short');
  if (document.children.length !== 1 || document.text.trim() !== '') fail('it has no single root');
  return document.children[0];
}

function unescaped(text: string, fail: (why: string) => never): string {
  return text.replace(/&([^;&]{0,10});|&/g, (whole, entity: string | undefined) => {
    const [, hex, decimal] = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(entity ?? '') ?? [];
    const code = hex ? Number.parseInt(hex, 16) : decimal ? Number(decimal) : Number.NaN;
    if (code > 0 && code <= 0x10ffff) return String.fromCodePoint(code);
    return entity !== undefined && Object.hasOwn(ENTITIES, entity)
      ? ENTITIES[entity]
      : fail(`it has the unknown entity ${JSON.stringify(whole)}`);
  });
}

/** The one child of that name, or undefined. */
export const childOf = (element: XmlElement, name: string): XmlElement | undefined =>
  element.children.find((child) => child.name === name);
