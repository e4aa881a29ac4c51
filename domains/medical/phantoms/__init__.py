"""Parts of the phantoms: smooth random fields, the tissue maps, lesions."""
