// What the style sheet of a run's report lacks for an evaluation's: cells, areas, gaps, narrow screens.

export const EXTRA_STYLE = `
svg .area { fill: var(--role); fill-opacity: 0.13; stroke-linejoin: round; }
svg .line.area { fill: var(--role); }
svg .cell { fill: var(--role); }
svg .cell-text { font-size: 12px; font-variant-numeric: tabular-nums; }
svg .cell-text.on-full { fill: var(--paper); }
svg .bar { fill: var(--role); fill-opacity: 0.35; }
svg .gap { stroke: var(--role); stroke-width: 1.4; stroke-dasharray: 2 2; }
.results tbody th, .results td { padding-top: 4px; padding-bottom: 4px; border-bottom-color: var(--grid); white-space: nowrap; }
.results tr.first > * { border-top: 1px solid var(--rule); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.wrap { display: inline-block; max-width: 20em; white-space: normal; }
.comparisons td { vertical-align: top; padding-top: 8px; }
.comparisons tbody th { vertical-align: top; padding-top: 8px; }
.comparisons .bar { min-width: 160px; }
.identity th { white-space: nowrap; width: 1%; padding-right: 24px; font-weight: 500; }
.identity code { overflow-wrap: anywhere; }
.gates { list-style: none; padding: 0; }
.gates li { margin: 8px 0; }
.card .big { white-space: normal; }
.card .big .quiet { font-size: 13px; font-weight: 400; }
/* A drawing alone does not fill the page. */
.pair > :only-child { max-width: 560px; }
h1 .key::before { width: 14px; height: 14px; }
ul { padding-left: 20px; }
li { margin: 3px 0; }
.scroll:focus-visible { outline: 2px solid var(--aligned); outline-offset: 2px; }
@media (max-width: 600px) { main { padding: 22px 14px 48px; } h1 { font-size: 23px; } .lead { font-size: 15.5px; }
  .chart svg .tick, .chart svg .axis { font-size: 13px; } .chart svg .row { font-size: 13.5px; } }
`;
