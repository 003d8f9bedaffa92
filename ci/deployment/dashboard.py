"""The dashboard: its layout, and the expressions that it asks.

    dashboard.py DASHBOARD.json
"""

import json
import re
import sys

from manifests import Fault

GRID = 24
# What Grafana fills in. The interval is four scrapes, as Grafana computes it.
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$pod": ".*"}
# The metrics with a label for the field.
BY_FIELD = (
    "corepulse_anomalies_total",
    "corepulse_anomaly_episodes_total",
    "corepulse_novelties_total",
    "corepulse_rolling_average",
    "corepulse_values_total",
)
# Units of Grafana that panels of ours may have.
UNITS = {"bool_on_off", "bytes", "none", "ops", "percentunit", "reqps", "s", "short"}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard, fields):
    """Title and expression of every target, with Grafana's variables filled in.

    What goes by field is there once for each of them.
    """
    for panel in panels(dashboard):
        for target in panel["targets"]:
            for field in fields if "$field" in target["expr"] else [""]:
                title, expression = panel["title"], target["expr"]
                for name, value in (VARIABLES | {"$field": field}).items():
                    title = title.replace(name, value)
                    expression = expression.replace(name, value)
                if "$" in title + expression:
                    raise Fault(f"{title}: a variable that nobody fills in: {expression}")
                yield title, expression


def fields_query(dashboard):
    """The metric, with its labels, whose fields the variable offers."""
    variable, = (v for v in dashboard["templating"]["list"] if v["name"] == "field")
    query = variable["query"]["query"]
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    found = re.fullmatch(r"label_values\((.*), field\)", query)
    if not found:
        raise Fault(f"variable field: {query}")
    return found[1]


def metrics(expression):
    """The names of metrics in an expression, as often as they stand there."""
    return re.findall(r"\b(?:corepulse_\w+|process_\w+|up)(?=\{|\[|\s|\)|$)", expression)


def overlaps(one, other):
    a, b = one["gridPos"], other["gridPos"]
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    return not (beside or above)


def faults(dashboard):
    everything = dashboard["panels"]
    ids = [panel["id"] for panel in everything]
    for number in sorted({i for i in ids if ids.count(i) > 1}):
        yield f"two panels have the id {number}"
    titles = [panel["title"] for panel in everything]
    for title in sorted({t for t in titles if titles.count(t) > 1}):
        yield f"two panels are called {title}"
    for index, panel in enumerate(everything):
        grid = panel["gridPos"]
        if grid["x"] < 0 or grid["x"] + grid["w"] > GRID:
            yield f"{panel['title']}: outside of the grid"
        for other in everything[:index]:
            if overlaps(panel, other):
                yield f"{panel['title']} overlaps {other['title']}"
    for panel in panels(dashboard):
        yield from panel_faults(panel)
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    for name in ("namespace", "pod", "field"):
        if name not in variables:
            yield f"no variable {name}"
    for name, variable in variables.items():
        if variable["datasource"]["uid"] != "prometheus":
            yield f"variable {name}: another datasource"
        if variable["query"]["query"] != variable["definition"]:
            yield f"variable {name}: two queries"


def panel_faults(panel):
    title, defaults = panel["title"], panel["fieldConfig"]["defaults"]
    if defaults.get("unit") not in UNITS:
        yield f"{title}: unit {defaults.get('unit')}"
    if not defaults.get("thresholds", {}).get("steps"):
        yield f"{title}: no thresholds"
    if not re.fullmatch(r"[A-Z0-9].{10,}\.", panel.get("description", ""), re.DOTALL):
        yield f"{title}: no description, or no sentence"
    if not panel["targets"]:
        yield f"{title}: asks nothing"
    for target in panel["targets"]:
        for source in (panel["datasource"], target["datasource"]):
            if source != {"type": "prometheus", "uid": "prometheus"}:
                yield f"{title}: datasource {source}"
        if not target["legendFormat"]:
            yield f"{title}: {target['refId']} has no legend"
        # Without both, the choice of a namespace or a pod would not hold for it.
        chosen = target["expr"].count('namespace=~"$namespace",pod=~"$pod"}')
        if chosen != len(metrics(target["expr"])):
            yield f"{title}: {target['refId']} leaves out the variables"
        by_field = sum(name in BY_FIELD for name in metrics(target["expr"]))
        if target["expr"].count('{field=~"$field",') != by_field:
            yield f"{title}: {target['refId']} leaves out the fields that are chosen"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        dashboard = json.load(file)
    found = list(faults(dashboard))
    for fault in found:
        print(f"dashboard: {fault}", file=sys.stderr)
    count = len(list(expressions(dashboard, [".*"])))
    print(f"dashboard: {len(panels(dashboard))} panels, {count} expressions")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
