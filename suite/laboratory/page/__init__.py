"""The laboratory's page: its controls, its drawing and its words."""
