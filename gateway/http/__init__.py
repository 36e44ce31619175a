"""The gateway's HTTP side: one raw ASGI application on granian, its routes, and how requests are refused."""

from gateway.http.exchange import Gone, Refused
from gateway.http.front import HttpFront
from gateway.http.problems import Problem, problem_of
from gateway.http.request import Request

__all__ = ["Gone", "HttpFront", "Problem", "Refused", "Request", "problem_of"]
