"""The detection benchmark: when does each detector, and each peer, notice what is the matter?"""
