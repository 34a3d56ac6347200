"""Video, sound and faces in and out."""
