"""Sources that change: a web server, an image registry and a git repository, each with what it should give just now."""
import gzip
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import time


class Web:
    """A server of `pages`: path -> Page. Counts the bodies that it sent."""

    class Page:
        def __init__(self, body, etag=None, modified=None, kind="application/octet-stream"):
            self.body, self.etag, self.modified, self.kind = body, etag, modified, kind

    def __init__(self):
        self.pages, self.sent = {}, 0
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                page = web.pages.get(self.path)
                if page is None:
                    self.answer(404, {}, b"")
                    return
                headers = {"Content-Type": page.kind, "Docker-Content-Digest": "sha256:" + hashlib.sha256(page.body).hexdigest()}
                if page.etag is not None:
                    headers["ETag"] = page.etag
                if page.modified is not None:
                    headers["Last-Modified"] = self.date_time_string(page.modified)
                tags = [tag.strip() for tag in self.headers.get("If-None-Match", "").split(",")]
                if page.etag is not None and page.etag in tags:
                    self.answer(304, headers, None)
                else:
                    web.sent += self.command == "GET"
                    self.answer(200, headers, page.body)

            do_HEAD = do_GET

            def answer(self, code, headers, body):
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                if body is not None:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if body is not None and self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Registry(Web):
    """Images of one layer with one file each, by tag."""

    INDEX, CONFIG, LAYER = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json",
                            "application/vnd.oci.image.layer.v1.tar+gzip")

    def __init__(self):
        super().__init__()
        self.pages["/v2/"] = self.Page(b"{}")

    def blob(self, data, kind):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.pages["/v2/image/blobs/" + digest] = self.Page(data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def tag(self, name, content):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("file")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        layer = self.blob(gzip.compress(archive.getvalue(), mtime=0), self.LAYER)
        config = self.blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(archive.getvalue()).hexdigest()]}}).encode(), self.CONFIG)
        manifest = json.dumps({"schemaVersion": 2, "mediaType": self.INDEX, "config": config, "layers": [layer]}).encode()
        page = self.Page(manifest, kind=self.INDEX)
        self.pages["/v2/image/manifests/" + name] = page
        self.pages["/v2/image/manifests/sha256:" + hashlib.sha256(manifest).hexdigest()] = page


class Git:
    """Bare repositories of one folder, served by git's own daemon."""

    def __init__(self, work, names):
        self.port = free_port()
        self.repositories = [Repository(work, name, f"git://127.0.0.1:{self.port}/{name}.git") for name in names]
        self.daemon = subprocess.Popen(["git", "daemon", "--export-all", "--base-path=" + work, "--listen=127.0.0.1", f"--port={self.port}", "--reuseaddr"],
                                       stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        url = self.repositories[0].url
        while subprocess.run(["git", "ls-remote", url], capture_output=True).returncode != 0 and time.monotonic() < deadline:
            pass

    def close(self):
        self.daemon.terminate()
        self.daemon.wait()


class Repository:
    """A bare repository with one working copy."""

    def __init__(self, work, name, url):
        self.bare, self.copy, self.url = os.path.join(work, name + ".git"), os.path.join(work, name), url
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.bare], check=True)
        subprocess.run(["git", "-C", self.bare, "config", "receive.denyDeleteCurrent", "ignore"], check=True)
        subprocess.run(["git", "clone", "-q", self.bare, self.copy], check=True, stderr=subprocess.DEVNULL)

    def run(self, *arguments):
        identity = ["-c", "user.name=model", "-c", "user.email=model@example.com"]
        return subprocess.run(["git", *identity, "-C", self.copy, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files, submodules=()):
        """A commit of exactly these files and (path, commit) pairs, after the present one; returns its name."""
        for name in os.listdir(self.copy):
            if name != ".git":
                subprocess.run(["rm", "-rf", os.path.join(self.copy, name)], check=True)
        for name, content in files.items():
            path = os.path.join(self.copy, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        self.run("add", "-A")
        for path, commit in submodules:
            self.run("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        self.run("commit", "-q", "--allow-empty", "-m", "change")
        return self.run("rev-parse", "HEAD")

    def point(self, ref, commit):
        self.run("push", "-q", "--force", "origin", f"{commit}:{ref}")

    def delete(self, ref):
        self.run("push", "-q", "origin", f":{ref}")


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
