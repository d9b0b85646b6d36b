"""Checks the Helm chart with Helm's own library and renders the plain manifests from it.

usage: chart.py CHART VALUES_FOLDER MANIFESTS [--check]

Lints and renders the chart with its defaults and with each file of VALUES_FOLDER, for the oldest and the
newest supported Kubernetes, validates every manifest against the schemas of both, and sees to it that what
values.schema.json forbids is refused. MANIFESTS is written, or with --check compared.
"""

import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

OLDEST = "1.29"
# Not in the schemas of Kubernetes: they come with the operator that owns them.
FOREIGN = {"PodMonitor": "monitoring.coreos.com/v1"}
HEAD = """\
# The chart deploy/helm/mcpsonar with its defaults, for Kubernetes 1.30 and later, made by `cargo xtask chart`.
#   kubectl apply -f deploy/kubernetes/mcpsonar.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: mcpsonar
  labels:
    # What the agent is allowed, and why, is said at each privilege below.
    pod-security.kubernetes.io/enforce: privileged
"""


def main(chart_folder, values_folder, manifests_file, check):
    newest = kubernetes_validate.latest_version()
    sets = {"defaults": {}}
    for path in sorted(Path(values_folder).glob("*.yaml")):
        sets[path.stem] = helm.values_from_yaml(path.read_text())
    validated = 0
    with helm.Chart.load(chart_folder) as chart:
        for name, values in sets.items():
            for version in (OLDEST, newest.rpartition(".")[0]):
                values = {**values, "kubeVersion": f"v{version}.0"}
                lint(chart_folder, name, values)
                validated += validate(render(chart, values), version, name)
        refusals(chart)
        text = HEAD + manifests(render(chart, {"kubeVersion": "v1.30.0"}))
    file = Path(manifests_file)
    if not check:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit(f"{file} is not what the chart renders: run `cargo xtask chart` and commit what it writes")
    print(f"chart: {len(sets)} sets of values, {validated} manifests valid for {OLDEST} and {newest}")


def lint(folder, name, values):
    report = helm.lint(folder, values, strict=True, namespace="mcpsonar")
    # An icon is for catalogues of charts.
    bad = [m for m in report["messages"] if m["severity"] >= 2 and "icon is recommended" not in m["error"]]
    if bad or report["errors"]:
        sys.exit(f"lint of the chart with {name}: {bad or report['errors']}")


def render(chart, values):
    chart.validate_schema(values)
    return chart.render(values, name="mcpsonar", namespace="mcpsonar")


def validate(rendered, version, name):
    count = 0
    for path, text in rendered.items():
        if not path.endswith(".yaml"):
            continue
        for manifest in filter(None, yaml.safe_load_all(text)):
            kind = manifest["kind"]
            if kind in FOREIGN:
                assert manifest["apiVersion"] == FOREIGN[kind] and manifest["spec"]["selector"], path
                continue
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{path} with {name} is not valid for Kubernetes {version}: {error.message} at {list(error.path)}")
            count += 1
    return count


def refusals(chart):
    """What the schema of the values must not let pass."""
    for wrong in (
        {"imgae": {}},
        {"metrics": {"port": 70000}},
        {"otlp": {"protocol": "http/json"}},
        {"otlp": {"endpoint": "collector:4317"}},
        {"history": {"hostPath": "var/lib"}},
        {"config": {"history": {"max_age": ["7d"]}}},
        {"securityContext": {"privileged": True}},
    ):
        try:
            chart.validate_schema(wrong)
        except helm.HelmError:
            continue
        sys.exit(f"values.schema.json lets {wrong} pass")


def manifests(rendered):
    texts = [(path, text.strip()) for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return "".join(f"---\n{text}\n" for _, text in texts if text)


if __name__ == "__main__":
    main(*sys.argv[1:4], "--check" in sys.argv)
