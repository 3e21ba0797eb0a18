// Lets a loop sleep until somebody rings, or for a while. A ring during the loop's work is not lost: the next sleep
// then ends at once.

export class Bell {
  private readonly sleepMs: number;
  private rung = false;
  private wake: () => void = () => undefined;

  constructor(sleepMs: number) {
    this.sleepMs = sleepMs;
  }

  ring(): void {
    this.rung = true;
    this.wake();
  }

  async wait(): Promise<void> {
    if (!this.rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.sleepMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.rung = false;
  }
}
