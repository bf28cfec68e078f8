"""Nothing is decoded here."""

ImageReadMode = decode_image = None
