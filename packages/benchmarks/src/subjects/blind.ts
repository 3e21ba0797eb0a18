// The control for whether answers come from the picture: any subject, shown a grey picture of the same size instead.

import type { Request, Shown, Subject } from './subject.ts';

/** Of every channel. */
const GREY = 128;

/** Takes the subject over: disposing of the one disposes of the other. */
export function blindSubject(subject: Subject): Subject {
  return {
    kind: 'blind',
    identity: { grey: GREY, subject: { kind: subject.kind, identity: subject.identity } },
    refuses: (suite) => subject.refuses(suite),
    prepare: (suite, run) =>
      subject.prepare({ ...suite, read: async (picture) => greyOf(await suite.read(picture)) }, run),
    answer: (requests, run) => subject.answer(requests.map(unseen), run),
    dispose: () => subject.dispose(),
  };
}

const unseen = ({ item, pictures }: Request): Request => ({
  item,
  pictures: pictures.map(({ pixels }) => ({ key: `grey ${pixels.width}x${pixels.height}`, pixels: greyOf(pixels) })),
});

const greyOf = ({ width, height }: Shown['pixels']): Shown['pixels'] => ({
  width,
  height,
  data: new Uint8Array(3 * width * height).fill(GREY),
});
