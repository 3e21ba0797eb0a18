import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCsv, readCsv } from './csv.ts';

describe('parseCsv', () => {
  it('reads quotes, commas and line ends in fields, CRLF and a byte order mark', () => {
    expect(parseCsv('\uFEFFa,b\r\n"x, ""y""","two\nlines"\r\n,\r\n', 'q.csv')).toEqual([
      ['a', 'b'],
      ['x, "y"', 'two\nlines'],
      ['', ''],
    ]);
    expect(parseCsv('a,b\n1,2', 'q.csv')).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ]);
    expect(parseCsv('a,b\n1,', 'q.csv')).toEqual([
      ['a', 'b'],
      ['1', ''],
    ]);
    expect(parseCsv('', 'q.csv')).toEqual([]);
  });

  it('gives back whatever was written', () => {
    const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', 'é') });
    const table = fc
      .integer({ min: 1, max: 4 })
      .chain((width) =>
        fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 5 }),
      );
    const quoted = (value: string) => `"${value.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(table, fc.constantFrom('\n', '\r\n'), (rows, end) => {
        const written = rows.map((row) => row.map(quoted).join(',')).join(end);
        expect(parseCsv(written, 'q.csv')).toEqual(rows);
        expect(parseCsv(written + end, 'q.csv')).toEqual(rows);
      }),
    );
  });

  it.each([
    ['a,b\n1', 'line 2 has 1 fields where the first has 2'],
    ['a,b\n"1\n\n2",x\n3', 'line 5 has 1 fields'],
    ['a\nx"y', 'line 2 has a quote'],
    ['a\n"x"y', 'line 2 has text after a closing quote'],
    ['a\n"x', 'line 2 opens a quote that is never closed'],
    ['a\rb', 'line 1 has a quote or a lone carriage return'],
  ])('refuses %j', (text, why) => {
    expect(() => parseCsv(text, 'q.csv')).toThrow(why);
  });

  it('bears a field of megabytes', () => {
    const long = 'x""'.repeat(200_000);
    expect(parseCsv(`"${long}"`, 'q.csv')[0][0]).toHaveLength(400_000);
  });
});

describe('readCsv', () => {
  it('finds columns by name, and says which one is missing or there twice', () => {
    expect(readCsv('B , a,c\n1,2,3\n', 'q.csv', ['A', 'b'])).toEqual([{ A: '2', b: '1' }]);
    expect(() => readCsv('a\n', 'q.csv', ['b'])).toThrow('must have one column "b"');
    expect(() => readCsv('a,A\n', 'q.csv', ['a'])).toThrow('which has 2');
    // `__proto__` is a name like any other and changes nothing.
    expect(readCsv('__proto__,a\nx,y\n', 'q.csv', ['a'])).toEqual([{ a: 'y' }]);
  });
});
