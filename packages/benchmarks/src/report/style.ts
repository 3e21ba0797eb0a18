// The report's style sheet. Colours follow the reader's light or dark setting; role colours are told apart by people with
// any colour vision (after Okabe & Ito 2008) and doubled by line patterns.

export const STYLE = `
:root { color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b1f27; --quiet: #5d6675; --rule: #dfe3e9; --grid: #e8ebf0;
  --baseline: #6b7280; --aligned: #0b62b8; --control: #b45309; --placebo: #a2357d; --other: #0f766e;
  --good: #14713d; --good-bg: #dff3e6; --bad: #a8231d; --bad-bg: #fbe3e1; --flat: #4b5563; --flat-bg: #e9ecf1; --mute: #7a5b00; --mute-bg: #fbf1d3; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12151b; --panel: #1a1f28; --ink: #e6e9ef; --quiet: #9aa4b4; --rule: #2d3541; --grid: #262d38;
  --baseline: #a3acba; --aligned: #63adf5; --control: #f0a44b; --placebo: #e38bc5; --other: #4fd1c0;
  --good: #7ddba0; --good-bg: #17341f; --bad: #f59a93; --bad-bg: #3d1b19; --flat: #c0c7d2; --flat-bg: #2a313c; --mute: #e8cb70; --mute-bg: #352b10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1140px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 14px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 21px; margin: 48px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 15.5px; margin: 22px 0 4px; }
h4 { font-size: 13px; margin: 0 0 2px; font-weight: 600; }
h4 .quiet { font-weight: 400; margin-left: 6px; }
p { margin: 6px 0; }
code, pre { font-family: ui-monospace, "SFMono-Regular", "Liberation Mono", "DejaVu Sans Mono", monospace; font-size: 12.5px; }
.brand { margin: 0; font-weight: 700; letter-spacing: 0.14em; text-transform: uppercase; font-size: 12px; color: var(--aligned); }
.quiet { color: var(--quiet); font-size: 13px; }
.lead { font-size: 17px; margin: 22px 0 14px; max-width: 62em; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 26px; margin: 0; }
.facts dt { font-size: 11.5px; color: var(--quiet); }
.facts dd { margin: 0; font-size: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(235px, 1fr)); gap: 14px; }
.card { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px; }
.card h3 { margin: 0; font-size: 13px; font-weight: 600; color: var(--quiet); }
.card .big { font-size: 24px; font-weight: 650; margin: 2px 0; white-space: nowrap; }
.card .pill { vertical-align: 4px; margin-left: 6px; }
.read { background: var(--panel); border-left: 4px solid var(--aligned); border-radius: 4px; padding: 6px 22px 12px; margin: 26px 0 0; }
.read div { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 44px; }
.read h2 { border: 0; margin: 8px 0 4px; padding: 0; font-size: 17px; }
.read p { font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 10px 0; font-size: 13.5px; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: middle; }
thead th { font-size: 12px; color: var(--quiet); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 18px; }
.group th { padding-top: 18px; font-weight: 600; }
.pill { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: 12px; font-weight: 600; white-space: nowrap; letter-spacing: 0; }
.pill.tone-better { color: var(--good); background: var(--good-bg); }
.pill.tone-worse { color: var(--bad); background: var(--bad-bg); }
.pill.tone-inconclusive { color: var(--flat); background: var(--flat-bg); }
.pill.tone-not-testable { color: var(--mute); background: var(--mute-bg); }
.role-baseline { --role: var(--baseline); --dash: none; }
.role-aligned { --role: var(--aligned); --dash: none; }
.role-control { --role: var(--control); --dash: 7 4; }
.role-placebo { --role: var(--placebo); --dash: 2 3; }
.role-other { --role: var(--other); --dash: 10 3 2 3; }
.key { white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%; background: var(--role); margin-right: 7px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 22px 32px; margin: 16px 0; }
.chart { margin: 0; }
figcaption { font-size: 13.5px; font-weight: 600; display: flex; flex-wrap: wrap; justify-content: space-between; gap: 4px 18px; margin-bottom: 4px; }
.legend { font-weight: 400; font-size: 12.5px; display: flex; flex-wrap: wrap; gap: 14px; }
.sample svg { display: inline-block; vertical-align: 1px; margin-right: 6px; }
.comparisons tbody th, .comparisons td:not([colspan]) { white-space: nowrap; }
svg { display: block; max-width: 100%; }
.chart > svg, svg.dots { width: 100%; height: auto; }
svg text { font-family: inherit; fill: var(--ink); }
svg .tick, svg .axis { font-size: 11px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg .row { font-size: 12px; }
svg .value { font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--grid); }
svg .zero { stroke: var(--quiet); }
svg .guide { stroke: var(--quiet); stroke-dasharray: 3 3; }
svg .line { fill: none; stroke: var(--role); stroke-width: 1.8; stroke-dasharray: var(--dash); stroke-linejoin: round; }
svg .mark { fill: var(--paper); stroke: var(--role); stroke-width: 1.8; }
svg .whisker { stroke: var(--role); stroke-width: 2.2; stroke-linecap: round; }
svg .dot { fill: var(--role); }
svg.delta { --role: var(--flat); }
svg.delta.tone-better { --role: var(--good); }
svg.delta.tone-worse { --role: var(--bad); }
svg.delta.tone-not-testable { --role: var(--quiet); }
.split { display: grid; grid-template-columns: 210px 1fr 1fr; gap: 8px 28px; padding: 14px 0; border-bottom: 1px solid var(--rule); align-items: start; }
.split h3 { margin: 0; }
.split .about p { margin: 2px 0; }
.probes { padding-top: 8px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 16px 32px; margin-top: 10px; }
.grid-pictures { width: auto; }
.grid-pictures th, .grid-pictures td { border: 0; padding: 4px 6px; font-size: 12px; text-align: center; max-width: 120px; overflow-wrap: anywhere; }
.grid-pictures tbody th { text-align: right; padding-right: 12px; white-space: nowrap; }
.grid-pictures img { width: 96px; height: 96px; display: block; border-radius: 4px; image-rendering: pixelated; background: var(--grid); }
pre { background: var(--panel); border: 1px solid var(--rule); border-radius: 6px; padding: 14px 18px; overflow-x: auto; line-height: 1.45; }
pre.recipe { columns: 420px 2; column-gap: 32px; column-rule: 1px solid var(--rule); white-space: pre-wrap; }
details { margin: 14px 0; }
summary { cursor: pointer; font-weight: 600; font-size: 14px; }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--rule); }
@media (max-width: 900px) { .split { grid-template-columns: 1fr; } .read div { grid-template-columns: 1fr; } .charts, .pair { grid-template-columns: 1fr; } }
@media print { .card, .read, .split, .chart, tr { break-inside: avoid; } main { max-width: none; } }
`;
