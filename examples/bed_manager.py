"""A service of two methods and a program that calls it, sealed both ways. Run: python bed_manager.py"""

import asyncio

from pydantic import BaseModel

from medmesh import CallContext, Mesh, NotFoundThere, endpoint, service


class Ward(BaseModel):
    name: str


class Bed(BaseModel):
    ward: str
    number: int


class Free(BaseModel):
    count: int


@service("bed-manager", version="1.2.0")
class BedManager:
    """Knows which beds are free."""

    def __init__(self, beds: dict[str, list[int]]) -> None:
        self.beds = beds

    @endpoint(idempotent=True)  # asking twice does no harm: callers may try again elsewhere
    async def count_free(self, request: Ward) -> Free:
        return Free(count=len(self.beds.get(request.name, [])))

    @endpoint  # acting twice would: a second try of the same call gets the first one's answer
    async def assign(self, request: Ward, call: CallContext) -> Bed:
        free = self.beds.get(request.name)
        if not free:
            raise NotFoundThere("no_free_bed", "ask another ward")
        bed = Bed(ward=request.name, number=free.pop(0))
        print(f"{call.caller} has bed {bed.number} of {bed.ward}")
        return bed


async def main() -> None:
    async with Mesh.in_memory(service="admissions") as mesh:
        await mesh.serve(BedManager({"3b": [7, 9]}))
        beds = mesh.client(BedManager)
        print((await beds.count_free(Ward(name="3b"))).count, "free")
        try:
            print("assigned", (await beds.assign(Ward(name="3b"))).number)
            await mesh.call("bed-manager", "assign", Ward(name="5a"), reply=Bed)
        except NotFoundThere as error:
            print(error.reason)


asyncio.run(main())
