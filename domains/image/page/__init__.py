"""The parts of the page of the shape app: the editor of edge maps, the gallery, what they show, and the words."""
