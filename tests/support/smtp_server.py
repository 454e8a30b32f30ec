#!/usr/bin/python3
"""A real SMTP server for tests: STARTTLS and sign-in, or neither.

smtp_server.py FOLDER [CERTIFICATE KEY USER PASSWORD]: writes the port it listens on into FOLDER/port, and each mail that
it takes into FOLDER/<n>.eml. With a certificate it takes mail only from who speaks TLS and signed in. Runs until killed.
"""
import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def write_whole(path, data):
    with open(path + ".part", "wb") as file:
        file.write(data)
    os.rename(path + ".part", path)


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        head = f"X-Test-From: {envelope.mail_from}\r\nX-Test-To: {','.join(envelope.rcpt_tos)}\r\n"
        write_whole(os.path.join(self.folder, f"{self.count}.eml"), head.encode() + envelope.content)
        self.count += 1
        return "250 OK"


def main():
    folder = sys.argv[1]
    options = {}
    if len(sys.argv) > 2:
        certificate, key, user, password = sys.argv[2:6]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

        def check(server, session, envelope, mechanism, data):
            good = data.login == user.encode() and data.password == password.encode()
            return AuthResult(success=good, handled=False)

        options = {"tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": check}
    keeper = Keeper(folder)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(lambda: SMTP(keeper, hostname="localhost", loop=loop, **options), "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    write_whole(os.path.join(folder, "port"), str(port).encode())
    loop.run_forever()


main()
