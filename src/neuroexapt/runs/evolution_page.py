"""The page around the picture of a front, as a `string.Template`."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pareto front: $title</title>
<style>
  :root { color-scheme: light; }
  * { box-sizing: border-box; }
  body { margin: 0; background: #f8fafc; color: #0f172a;
         font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
  main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 40px; }
  h1 { font-size: 22px; line-height: 1.3; margin: 0 0 4px; font-weight: 650; }
  p { margin: 0 0 14px; color: #475569; max-width: 78ch; }
  .key { display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; margin: 0 0 14px;
         padding: 0; color: #334155; font-size: 14px; }
  .key i { display: inline-block; width: 11px; height: 11px; border-radius: 50%;
           margin-right: 7px; vertical-align: -1px; }
  .key i.line { width: 20px; height: 0; border-radius: 0; border-top: 2px dotted #c2410c;
                vertical-align: 4px; }
  .panels { display: grid; gap: 16px; margin-bottom: 22px;
            grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
  .panel, .table { background: #fff; border: 1px solid #e2e8f0; border-radius: 10px; }
  .panel { padding: 6px; min-width: 0; }
  .panel > div { height: 430px; }
  .table { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; font-size: 14px; }
  th, td { padding: 9px 14px; text-align: right; white-space: nowrap; vertical-align: top;
           border-bottom: 1px solid #e2e8f0; font-variant-numeric: tabular-nums; }
  tr:last-child td { border-bottom: 0; }
  th { color: #475569; font-weight: 600; }
  th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
  td:last-child { white-space: normal; min-width: 280px; color: #475569; }
  tr.picked td { background: #fff7ed; }
  tr.picked td:first-child { font-weight: 650; color: #c2410c; }
  .note { margin-top: 14px; font-size: 13px; }
</style>
<script>$plotly</script>
</head>
<body>
<main>
<h1>Pareto front: $title</h1>
<p>$told</p>
<ul class="key">
  <li><i style="background:#1d4ed8"></i>the front</li>
  <li><i style="background:#fff;border:3px solid #c2410c"></i>picked: $picked</li>
  <li><i style="background:#94a3b8"></i>every other network, as last scored</li>
  <li><i class="line"></i>how a network was grown from the first one: click one</li>
</ul>
<div class="panels">
$panels
</div>
<div class="table"><table>
<thead><tr>$head</tr></thead>
<tbody>
$rows
</tbody>
</table></div>
<p class="note">$note</p>
</main>
<script>
  const lineages = $lineages;
  const figures = $figures;
  const settings = {responsive: true, displayModeBar: false};
  const panels = figures.map((figure, number) => {
    const panel = document.getElementById(`panel$${number}`);
    Plotly.newPlot(panel, figure.data, figure.layout, settings);
    panel.on("plotly_click", (event) => drawLineage(event.points[0].customdata));
    return panel;
  });
  function drawLineage(name) {
    for (const panel of panels) {
      const places = new Map();
      for (const trace of panel.data) {
        (trace.customdata || []).forEach((one, i) => places.set(one, [trace.x[i], trace.y[i]]));
      }
      const path = lineages[name].map((one) => places.get(one));
      Plotly.restyle(panel, {x: [path.map((p) => p[0])], y: [path.map((p) => p[1])]}, [0]);
    }
  }
</script>
</body>
</html>
"""
