"""The cells of a plan in several processes of this machine: who gets which, and what becomes of one that dies."""
