"""Charts of a report, each one Vega-Lite specification; needs the extra `report`."""
