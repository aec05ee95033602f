"""A page of the API's description for people: `/docs`. All that it loads comes from here.

The page is Swagger UI, read once at the start from the package that brings it along. Its policy
lets it run and style itself by these files alone and call the API that it came from, nothing else.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.problems import nothing_here
from gateway.routes.openapi import PATH as DESCRIPTION
from gateway.routing import AnyOperation, OpenOperation

PATH: Final = "/docs"
_PACKAGE: Final = "swagger_ui_bundle"
_CSS, _JS = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_TAKEN: Final = {
    "swagger-ui.css": _CSS,
    "swagger-ui-bundle.js": _JS,
    "favicon-32x32.png": "image/png",
}
_START: Final = "start.js"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_A_DAY: Final = "public, max-age=86400"
_PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hookline API</title>
<link rel="icon" href="{PATH}/favicon-32x32.png">
<link rel="stylesheet" href="{PATH}/swagger-ui.css">
<div id="page"></div>
<script src="{PATH}/swagger-ui-bundle.js"></script>
<script src="{PATH}/{_START}"></script>
</html>
"""
_SCRIPT: Final = f"""SwaggerUIBundle({{
  url: "{DESCRIPTION}",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  validatorUrl: null,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
}});
"""


def routes() -> list[AnyOperation]:
    """List the operations that show the page."""
    page = _PAGE.encode()
    assets = _read()

    async def show(_request: Request) -> Response:
        """Give the page."""
        return Response(page, headers=_HEADERS, media_type="text/html")

    async def give(request: Request) -> Response:
        """Give a file that the page loads."""
        found = assets.get(request.path_params["file"])
        if found is None:
            return nothing_here()
        body, media = found
        return Response(body, headers={**_HEADERS, "cache-control": _A_DAY}, media_type=media)

    return [
        OpenOperation(method="GET", path=PATH, handler=show),
        OpenOperation(method="GET", path=f"{PATH}/{{file}}", handler=give),
    ]


def _read() -> Mapping[str, tuple[bytes, str]]:
    """Read the files of the page.

    Raises:
        LookupError: The package does not have them where it had them.
    """
    home = _home(files(_PACKAGE) / "vendor")
    read = {name: ((home / name).read_bytes(), media) for name, media in _TAKEN.items()}
    return {**read, _START: (_SCRIPT.encode(), _JS)}


def _home(vendor: Traversable) -> Traversable:
    """Find the one folder of the version that was packed."""
    for folder in vendor.iterdir():
        if (folder / "swagger-ui-bundle.js").is_file():
            return folder
    msg = f"{_PACKAGE} holds no Swagger UI"
    raise LookupError(msg)
