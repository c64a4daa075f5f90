import gc

from tidemill import garbage


def test_collection_pauses_inside_and_leaves_what_is_there_alone_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with garbage.paused():
            assert not gc.isenabled()
            made = [[place] for place in range(1_000)]
            with garbage.paused():
                pass
            assert not gc.isenabled(), "the outer block goes on"
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()
