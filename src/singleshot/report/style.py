"""The page's looks: one style sheet, light or dark with the reader's system, printable."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#16191f;--quiet:#667085;--rule:#e3e6eb;
--accent:#1f6feb;--good:#12855a;--bad:#c4320a;
--c0:#1f6feb;--c1:#d9480f;--c2:#12855a;--c3:#9334e6;--c4:#b7791f;--c5:#0e7490}
@media(prefers-color-scheme:dark){:root{--ground:#0f1216;--card:#181c22;--ink:#e8eaee;--quiet:#98a2b3;--rule:#2b313a;
--accent:#5b9cff;--good:#3ecf8e;--bad:#ff7a59;
--c0:#5b9cff;--c1:#ff8a4c;--c2:#3ecf8e;--c3:#c08bff;--c4:#e6b450;--c5:#4cc4d9}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:28px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:44px 0 14px;letter-spacing:-.005em}
h3{font-size:14px;margin:0 0 8px;font-weight:600}
p{margin:0 0 10px}
.quiet,figcaption,.legend,.tile span{color:var(--quiet)}
.tiles,.charts,.curves,.gallery{display:grid;gap:14px}
.tiles{grid-template-columns:repeat(auto-fit,minmax(140px,1fr));margin-top:24px}
.charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}
.curves{grid-template-columns:repeat(auto-fill,minmax(170px,1fr))}
.curves.wide{grid-template-columns:repeat(auto-fill,minmax(215px,1fr))}.half{max-width:580px}
.gallery{grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));align-items:start}
.card,.tile,figure{background:var(--card);border:1px solid var(--rule);border-radius:10px;margin:0;min-width:0}
.card{padding:16px 18px}
.tile{padding:14px 16px}
.tile b{display:block;font-size:26px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile.main b{color:var(--accent)}
.tile span{font-size:13px}
em{font-style:normal;font-weight:600}.up{color:var(--good)}.down{color:var(--bad)}
figure{overflow:hidden}
figure img{display:block;width:100%;height:auto}
figure>p{padding:28px 12px 0;margin:0;text-align:center;overflow-wrap:anywhere}
figcaption{padding:9px 12px 11px;font-size:13px;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-weight:600}
svg{display:block;width:100%;height:auto}
svg text{font-size:11.5px;fill:var(--quiet);font-variant-numeric:tabular-nums}
.grid{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.faint{stroke-width:1;opacity:.3}.c1.faint{opacity:.7}
.area{fill:var(--c);opacity:.1}.dot{fill:var(--c)}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.legend{font-size:13px;margin:8px 0 0;display:flex;flex-wrap:wrap;gap:4px 18px}
.swatch,.key{display:inline-block;width:14px;height:3px;border-radius:2px;background:var(--c);
margin-right:7px;vertical-align:middle}
.key{height:12px;background:none;border:2px solid}
.key.dashed{border-style:dashed}
.right{border-color:#2896ff}.wrong{border-color:#ff5032}.missed{border-color:#e0b400}
.found{border-color:#aab2bd}.ignored{border-color:#6b7280}
.share{fill:var(--c);opacity:.75}.block{display:inline-block;width:12px;height:12px;border-radius:3px;background:var(--c);
margin-right:7px;vertical-align:-1px;opacity:.75}
.recall{fill:none;stroke:var(--ink);stroke-width:2}.recall.dashed,.whole{stroke-dasharray:5 4}
.whole{stroke:var(--quiet);stroke-width:1}
.stroke{display:inline-block;width:16px;border-top:2px solid var(--ink);margin-right:7px;vertical-align:middle}
.stroke.dashed{border-top-style:dashed}
.legend+.gallery{margin-top:14px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
tr:last-child td{border-bottom:0}
th{font-size:12.5px;font-weight:600;color:var(--quiet)}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
.matrix th,.matrix td{padding:6px 9px}.matrix td:first-child,.matrix th:first-child{white-space:nowrap}
td.bar{width:38%;min-width:120px;text-align:left}
.bar div{height:10px;border-radius:5px;background:var(--rule);position:relative;overflow:hidden}
.bar i{position:absolute;inset:0 auto 0 0;background:var(--accent);border-radius:5px}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
dl{display:grid;grid-template-columns:minmax(140px,max-content) 1fr;gap:4px 24px;margin:0}
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
ul{margin:0;padding-left:20px}
footer{margin-top:48px;font-size:13px;color:var(--quiet)}
@media print{body{background:#fff}.card,.tile,figure{break-inside:avoid}}
"""
