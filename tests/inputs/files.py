"""Files of every kind that pictures come in, made by hand or by what wrote them first."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def specimen(seed: int = 0, size: tuple[int, int] = (12, 8)) -> Image.Image:
    """A picture without two equal pixels side by side."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def data_url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def same(picture: Image.Image, other: Image.Image) -> bool:
    return picture.mode == other.mode == "RGB" and np.array_equal(np.asarray(picture), np.asarray(other))


def pdf(*pages: tuple[tuple[int, int], tuple[float, float, float]], extra: str = "", trailer: str = "") -> bytes:
    """A PDF by hand: of each page ((width, height) in points, colour) the left half is filled with the colour."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    for number, ((width, height), colour) in enumerate(pages):
        drawn = f"{' '.join(map(str, colour))} rg 0 0 {width / 2} {height} re f"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents {4 + 2 * number} 0 R "
                       f"{extra} >>")  # fmt: skip
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    body, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n".encode("ascii")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + (head + end).encode("ascii")


LOCKED = (
    f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >> "
    f"/ID [<{'33' * 16}> <{'33' * 16}>]"
)
"""The end of a PDF that no empty password opens: its marks belong to none."""


def heic(image: Image.Image, **options: object) -> bytes:
    import pillow_heif

    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=-1, chroma=444, **options)
    return stream.getvalue()


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
            return
        data = self.server.files.get(kind)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


@contextmanager
def serving(files: dict[str, bytes]):
    """A web server of this machine with the files; `/to/PLACE` redirects to a place."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.files, server.seen, server.daemon_threads = files, [], True
    server.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
