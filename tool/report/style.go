package report

// The colours are from the palette of Okabe and Ito, which is suitable for any colour vision.
const style = `:root{color-scheme:light dark;--bg:#fff;--fg:#1b1b1b;--dim:#5a5a5a;--line:#d4d4d4;--free:#e4e4e4;--good:#009e73;--warn:#e69f00;--bad:#d55e00;--heat:0,114,178}
@media (prefers-color-scheme:dark){:root{--bg:#161616;--fg:#ececec;--dim:#adadad;--line:#454545;--free:#3a3a3a;--heat:86,180,233}}
*{box-sizing:border-box}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;max-width:62rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.2rem 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .4rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p{margin:.4rem 0;max-width:48rem}
.state{border-left:.5rem solid var(--good);padding:.3rem .8rem;font-size:1.1rem;max-width:none}
.state.warn{border-color:var(--warn)}
.state.bad{border-color:var(--bad)}
.note{color:var(--dim);font-size:.9rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{text-align:right;padding:.15rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:middle}
th{color:var(--dim);font-weight:600}
th:first-child,td:first-child{padding-left:0}
.l{text-align:left}
.w{white-space:normal;overflow-wrap:anywhere;text-align:left}
.n{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:8rem}
td.bar{width:14rem;min-width:9rem}
svg{display:block}
.bar svg,.wide{width:100%;height:1.1rem}
.wide{height:1.6rem;margin:.3rem 0}
.f{fill:var(--free)}.e{fill:#0072b2}.s{fill:#e69f00}.r{fill:#009e73}.x{fill:#cc79a7}.t{fill:var(--fg);font-size:13px}.d{fill:var(--dim);font-size:12px}
.q{stroke:var(--dim);stroke-width:1.5;fill:none}.q.k{stroke-dasharray:4 3}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:.3rem 0;padding:0;font-size:.9rem}
.key svg{display:inline-block;width:.8rem;height:.8rem;vertical-align:-.05rem;margin-right:.4rem}
.faults{margin:.4rem 0;padding:0;list-style:none}
.faults li{padding:.35rem 0;border-bottom:1px solid var(--line)}
.faults code{font:13px/1.45 ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.faults span{display:block;color:var(--dim);font-size:.9rem}
.heat{font-size:.75rem}
.heat td,.heat th{padding:.15rem .3rem}
.heat td.h{min-width:2.2rem;border:1px solid var(--bg)}
.map{display:block;width:100%;max-width:32rem;image-rendering:pixelated;border:1px solid var(--line)}
summary{cursor:pointer;color:var(--dim);margin:.4rem 0}
footer{margin-top:2rem;color:var(--dim);font-size:.85rem}
@media print{html{font-size:11px}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}body{max-width:none;padding:0;font-size:11px}.scroll{overflow:visible}table{font-size:10px}h2,h3,caption{break-after:avoid}tr,li,svg,img{break-inside:avoid}.map{max-width:24rem}.scroll svg{max-width:100%;height:auto}.bar svg{height:.8rem}.heat{font-size:7px}.heat td,.heat th{padding:.1rem}.heat td.h{min-width:0}.faults code{font-size:10px}details::details-content{content-visibility:visible;display:block}td.bar{width:10rem}}
`
