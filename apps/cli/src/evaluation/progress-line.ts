// One line at the foot of a terminal that says how far an evaluation is; nothing where nobody sees it.

export interface ProgressLine {
  show(event: { step: number; steps: number; text?: string }): void;
  end(): void;
}

export function progressLine(json?: boolean): ProgressLine {
  const isSeen = process.stderr.isTTY && !json;
  return {
    show({ step, steps, text }) {
      if (isSeen) process.stderr.write(`\r${text ?? 'asking'} ${step}/${steps}\x1b[K`);
    },
    end() {
      if (isSeen) process.stderr.write('\r\x1b[K');
    },
  };
}
