"""Reads metrics from the standard input, as OpenMetrics, and prints a type, a name and a value in each line."""

import sys

from prometheus_client.openmetrics import parser

for family in parser.text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    for sample in family.samples:
        print(family.type, sample.name, sample.value)
