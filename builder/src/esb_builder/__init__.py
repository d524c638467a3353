"""What makes ESB's foundations: the engine, the certificate authority, the images and their judge."""
