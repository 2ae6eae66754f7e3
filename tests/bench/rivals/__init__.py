"""The servers that this project is measured beside, each as small as its documentation shows it."""
