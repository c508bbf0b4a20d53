"""moto_server with one request at a time.

moto 5.2.5 answers requests in threads and takes no lock: two puts at once may give their stream records the same sequence number (7 of 2,400
with eight writers), and the check of a condition and the write that it guards can be torn apart. The real service does neither, and a
stream reader rightly takes a repeated sequence number for a repeated record. Connections stay concurrent; only the work is in turn.
"""

import io
import sys
import threading

from moto import server

turn = threading.Lock()
run_simple = server.run_simple


def run_in_turn(host, port, app, **options):
    def in_turn(environ, start_response):
        # The body is read before the lock is taken: a slow client must hold nobody up.
        length = environ.get("CONTENT_LENGTH")
        if length:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))
        with turn:
            return app(environ, start_response)

    run_simple(host, port, in_turn, **options)


server.run_simple = run_in_turn
server.main(sys.argv[1:])
